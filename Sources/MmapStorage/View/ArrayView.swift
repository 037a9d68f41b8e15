/// An array inside a value, as a view: elements are reached one by one, each access as in
/// ``StorageView``.
///
/// - Precondition: Every index is in `0..<count`; another one traps, as with `Swift.Array`.
public struct ArrayView<Element>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: UnsafeMutableRawPointer

  @usableFromInline
  let copy: ViewedCopy?

  /// The number of elements.
  public let count: Int

  @inlinable
  @inline(__always)
  @_lifetime(copy parent)
  init<Parent>(
    _ address: UnsafeMutableRawPointer,
    count: Int,
    inside parent: borrowing StorageView<Parent>
  ) {
    self.address = address
    self.count = count
    copy = parent.copy
  }

  @inlinable
  @inline(__always)
  @_lifetime(copy parent)
  init<Parent>(
    _ address: UnsafeMutableRawPointer,
    count: Int,
    inside parent: borrowing ArrayView<Parent>
  ) {
    self.address = address
    self.count = count
    copy = parent.copy
  }

  /// All indices.
  @inlinable
  public var indices: Range<Int> { 0..<count }

  @inlinable
  @inline(__always)
  func address(of index: Int) -> UnsafeMutableRawPointer {
    precondition(index >= 0 && index < count, "array index out of range")
    return address + index * MemoryLayout<Element>.stride
  }

  /// An element that is a structure, as a view of its own.
  @inlinable
  @_disfavoredOverload  // A scalar is meant by the others.
  public subscript(index: Int) -> StorageView<Element> {
    @inline(__always)
    @_lifetime(copy self)
    get { StorageView(address(of: index), inside: self) }
  }

  /// An element that is an array itself.
  @inlinable
  public subscript<let inner: Int, Inner: MapField>(index: Int) -> ArrayView<Inner>
  where Element == InlineArray<inner, Inner> {
    @inline(__always)
    @_lifetime(copy self)
    get { ArrayView<Inner>(address(of: index), count: inner, inside: self) }
  }
}

extension ArrayView where Element: MapScalar {
  /// A scalar element: one volatile load or store of its width.
  @inlinable
  public subscript(index: Int) -> Element {
    @inline(__always) get { Element(mapBits: Element.Bits._load(address(of: index))) }
    @inline(__always) nonmutating set {
      Element.Bits._store(address(of: index), newValue.mapBits)
    }
  }
}

extension ArrayView where Element: MapScalar & FixedWidthInteger {
  /// The text of a C `char` array, up to its NUL or its end; bytes that are not UTF-8 are replaced.
  ///
  /// - Precondition: The elements are bytes.
  public func copyString() -> String {
    precondition(MemoryLayout<Element>.size == 1, "a C string consists of bytes")
    var bytes: [UInt8] = []
    for index in indices {
      let byte = UInt8(truncatingIfNeeded: self[index])
      if byte == 0 { break }
      bytes.append(byte)
    }
    return String(decoding: bytes, as: UTF8.self)
  }

  /// Writes text as a C string, NUL-terminated, and zeroes what is left of the array.
  ///
  /// - Returns: False, with nothing written, if the text and its NUL do not fit.
  /// - Precondition: The elements are bytes.
  public func replaceString(with text: String) -> Bool {
    precondition(MemoryLayout<Element>.size == 1, "a C string consists of bytes")
    guard text.utf8.count < count else { return false }
    var next = 0
    for byte in text.utf8 {
      self[next] = Element(truncatingIfNeeded: byte)
      next += 1
    }
    for index in next..<count { self[index] = 0 }
    return true
  }
}
