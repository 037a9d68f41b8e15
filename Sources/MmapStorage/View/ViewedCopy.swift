// SPDX-License-Identifier: Apache-2.0
public import LibBPF

/// Reloads the value of a view that is a copy.
///
/// It holds no reference: the thread's attachment keeps the copy alive while the view exists.
@usableFromInline
@safe
struct ViewedCopy {
  private let value: Unmanaged<CopiedValue>

  init(_ value: Unmanaged<CopiedValue>) { unsafe self.value = value }

  /// Begins the view, and returns the address of the value.
  func begin() throws(BPFError) -> UnsafeMutableRawPointer {
    try unsafe value.takeUnretainedValue().begin()
  }

  /// Loads the value again and keeps the view's changes.
  @usableFromInline
  func reload() throws(BPFError) { try unsafe value.takeUnretainedValue().reload() }

  /// Ends the view. The outermost one writes the changes back.
  @usableFromInline
  func end() throws(BPFError) { try unsafe value.takeUnretainedValue().end() }
}
