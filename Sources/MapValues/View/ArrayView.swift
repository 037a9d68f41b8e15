// SPDX-License-Identifier: Apache-2.0
/// An array in a value. Each access to an element is as for a field of ``StorageView``.
///
/// Like a ``StorageView``, it is always borrowed and cannot escape from the closure.
///
/// - Precondition: Every index is in `0..<count`. Other indices trap, as in `Swift.Array`.
@safe
public struct ArrayView<Element: MapField>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: FieldAddress

  @usableFromInline
  let copy: ViewedCopy?

  /// The number of elements.
  public let count: Int

  @inlinable
  @inline(__always)
  @_lifetime(immortal)
  init(at address: FieldAddress, count: Int, copy: ViewedCopy?) {
    self.address = address
    self.count = count
    self.copy = copy
  }

  /// The range of all indices.
  @inlinable
  public var indices: Range<Int> { 0..<count }

  @inlinable
  @inline(__always)
  func address(of index: Int) -> FieldAddress {
    precondition(index >= 0 && index < count, "array index out of range")
    return address.advanced(by: index * MemoryLayout<Element>.stride)
  }

  /// An element that is an array, as a borrowed view.
  @inlinable
  public subscript<let inner: Int, Inner: MapField>(index: Int) -> ArrayView<Inner>
  where Element == InlineArray<inner, Inner> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield ArrayView<Inner>(at: address(of: index), count: inner, copy: copy)
    }
  }
}

extension ArrayView where Element: MapValue {
  /// An element that is a structure, as a borrowed view.
  @inlinable
  public subscript(index: Int) -> StorageView<Element> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield StorageView<Element>(at: address(of: index), copy: copy)
    }
  }
}

extension ArrayView where Element: MapScalar {
  /// A scalar element: one volatile load or store of its width.
  @inlinable
  public subscript(index: Int) -> Element {
    @inline(__always) get { address(of: index).load(as: Element.self) }
    @inline(__always) nonmutating set { address(of: index).store(newValue) }
  }
}

extension ArrayView where Element: MapScalar & FixedWidthInteger {
  /// Returns the text of a C `char` array, up to its NUL or its end. Replaces bytes that are not
  /// UTF-8.
  ///
  /// - Precondition: An element has one byte.
  public func copyString() -> String {
    textOfCString(count: count) { self[$0] }
  }

  /// Stores text as a NUL-terminated C string, and sets the rest of the array to zero.
  ///
  /// - Returns: False if the text and its NUL do not fit. Nothing is stored then.
  /// - Precondition: An element has one byte.
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
