public import LibBPF

/// Lets a view of a copied value load it again. Valid as long as the view.
@usableFromInline
struct ViewedCopy {
  private let value: Unmanaged<CopiedValue>

  init(_ value: Unmanaged<CopiedValue>) { self.value = value }

  /// Enters the view.
  func begin() throws(BPFError) -> UnsafeMutableRawPointer {
    try value.takeUnretainedValue().begin()
  }

  /// Loads the storage again and keeps what the view changed.
  @usableFromInline
  func reload() throws(BPFError) { try value.takeUnretainedValue().reload() }

  /// Leaves the view: the outermost one writes back what changed.
  @usableFromInline
  func end() throws(BPFError) { try value.takeUnretainedValue().end() }
}
