/// Lets a view of a copied value load it again. Valid as long as the view.
@usableFromInline
struct ViewedCopy {
  private let value: Unmanaged<CopiedValue>

  init(_ value: Unmanaged<CopiedValue>) { self.value = value }

  /// Enters the view.
  func begin() throws(StorageError) -> UnsafeMutableRawPointer {
    try value.takeUnretainedValue().begin()
  }

  /// Loads the storage again and keeps what the view changed.
  @usableFromInline
  func reload() throws(StorageError) { try value.takeUnretainedValue().reload() }

  /// Leaves the view: the outermost one writes back what changed.
  @usableFromInline
  func end() throws(StorageError) { try value.takeUnretainedValue().end() }
}
