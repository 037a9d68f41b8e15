// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LibBPF

/// The source and destination of a ``CopiedValue``: the calling thread's own value.
package protocol CopySource: AnyObject {
  /// The size of the value in bytes.
  var valueSize: Int { get }

  /// Copies the value into `bytes`, which are `valueSize` bytes.
  ///
  /// - Returns: False if there is no value; `bytes` are then unspecified.
  /// - Throws: ``BPFError``; `bytes` are then unchanged.
  func loadOwn(into bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Bool

  /// Writes the byte ranges of `bytes` to the value and does not change its other bytes. Creates
  /// the value, zero elsewhere, if there is none.
  func storeOwn(_ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer) throws(BPFError)
}

// Invariant: both buffers have the bytes of a value from `init` to `deinit`, and fields lie in them.
// The thread's attachment keeps the copy while a view of it exists.

/// One thread's copy of its value, for a backend that copies in and out. Only its thread uses it.
@safe
package final class CopiedValue {
  /// Runs a closure so that neither a signal handler nor cancellation of the thread interferes.
  package typealias SlowPath = (() throws(BPFError) -> Void) throws(BPFError) -> Void

  /// The copy that the thread's views read and write.
  private let bytes: UnsafeMutableRawPointer
  /// The value as it was in the map when it was last loaded.
  private let loaded: UnsafeMutableRawPointer
  private let size: Int
  private let source: any CopySource
  private let slowPath: SlowPath
  private let fields: [Range<Int>]
  private var depth = 0
  /// Kept to reuse its capacity. Only ``collectChanges()`` changes it, and makes no calls
  /// meanwhile.
  @exclusivity(unchecked) private var changes: [Range<Int>] = []

  /// - Parameters:
  ///   - source: Loads and stores the value.
  ///   - fields: The byte ranges of the value's scalar fields. Each is written back as a whole.
  ///   - slowPath: Runs the code that loads and stores the value.
  package init(
    _ source: any CopySource,
    fields: [Range<Int>],
    slowPath: @escaping SlowPath
  ) {
    self.source = source
    self.slowPath = slowPath
    self.fields = fields
    size = source.valueSize
    unsafe bytes = .allocate(byteCount: size, alignment: 64)
    unsafe loaded = .allocate(byteCount: size, alignment: 64)
  }

  deinit {
    unsafe bytes.deallocate()
    unsafe loaded.deallocate()
  }

  /// Enters a view. The outermost one loads the value; a value that does not exist reads as zero.
  ///
  /// Only in a slow path.
  func begin() throws(BPFError) -> UnsafeMutableRawPointer {
    if depth == 0 {
      try load()
      unsafe bytes.copyMemory(from: loaded, byteCount: size)
    }
    depth += 1
    return unsafe bytes
  }

  /// Leaves a view. The outermost one writes back the fields that changed, and only those.
  func end() throws(BPFError) {
    try slowPath { () throws(BPFError) in
      depth -= 1
      guard depth == 0 else { return }
      collectChanges()
      if unsafe !changes.isEmpty {
        try unsafe source.storeOwn(changes, of: UnsafeRawBufferPointer(start: bytes, count: size))
      }
    }
  }

  /// Loads the value again and keeps the changes of the views.
  func reload() throws(BPFError) {
    try slowPath { () throws(BPFError) in try reloadInSlowPath() }
  }

  private func reloadInSlowPath() throws(BPFError) {
    collectChanges()
    let mine = unsafe pieces(of: bytes), before = unsafe pieces(of: loaded)
    do {
      try load()
    } catch {
      // Loaded changes must not be written back at the end of the view.
      unsafe loaded.copyMemory(from: bytes, byteCount: size)
      unsafe put(before, into: loaded)
      throw error
    }
    unsafe bytes.copyMemory(from: loaded, byteCount: size)
    unsafe put(mine, into: bytes)
  }

  private func pieces(of value: UnsafeMutableRawPointer) -> [[UInt8]] {
    unsafe changes.map {
      unsafe Array(UnsafeRawBufferPointer(start: value + $0.lowerBound, count: $0.count))
    }
  }

  private func put(_ pieces: [[UInt8]], into value: UnsafeMutableRawPointer) {
    for (range, piece) in unsafe zip(changes, pieces) {
      unsafe UnsafeMutableRawBufferPointer(start: value + range.lowerBound, count: range.count)
        .copyBytes(from: piece)
    }
  }

  private func load() throws(BPFError) {
    let buffer = unsafe UnsafeMutableRawBufferPointer(start: loaded, count: size)
    if try unsafe !source.loadOwn(into: buffer) {
      unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
    }
  }

  private func collectChanges() {
    if unsafe !changes.isEmpty { unsafe changes.removeAll(keepingCapacity: true) }
    guard unsafe memcmp(bytes, loaded, size) != 0 else { return }
    for field in fields
    where unsafe memcmp(bytes + field.lowerBound, loaded + field.lowerBound, field.count) != 0 {
      unsafe changes.append(field)
    }
  }
}

/// Reloads the value of a view that is a copy.
///
/// It holds no reference: the thread's attachment keeps the copy alive while the view exists.
@usableFromInline
@safe
package struct ViewedCopy {
  private let value: Unmanaged<CopiedValue>

  package init(_ value: Unmanaged<CopiedValue>) { unsafe self.value = value }

  /// Begins the view, and returns the address of the value.
  package func begin() throws(BPFError) -> UnsafeMutableRawPointer {
    try unsafe value.takeUnretainedValue().begin()
  }

  /// Loads the value again and keeps the view's changes.
  @usableFromInline
  package func reload() throws(BPFError) { try unsafe value.takeUnretainedValue().reload() }

  /// Ends the view. The outermost one writes the changes back.
  @usableFromInline
  package func end() throws(BPFError) { try unsafe value.takeUnretainedValue().end() }
}
