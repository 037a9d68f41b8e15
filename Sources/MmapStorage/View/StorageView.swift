public import CLibBPFShim

/// What a thread holds while it reads and writes its own storage, or a structure inside it.
///
/// A view lives only inside the closure of ``TaskLocalStorage/withCurrent(_:)-1jbdr``: it cannot be
/// copied, returned, sent to another thread, or kept across an `await`; the compiler refuses that.
/// (Swift 6.3 still lets a nested view be put into an `Optional` variable outside of the closure. Do
/// not: the memory is not the thread's any more when the storage ends.)
///
/// Fields are reached by the names of the value's properties. Each read or write of a scalar field
/// is one volatile access of the field's width: not torn, not elided, not invented, because a BPF
/// program changes the same bytes.
///
/// ```swift
/// try tags.withCurrent { tag in
///   tag.requestID = 42            // one store
///   tag.header.attempts += 1      // a nested structure: one load, one store
///   tag.samples[3] = 7            // an array element
/// }
/// ```
///
/// Cost: with a direct backend one machine instruction with a memory operand an access, in release
/// mode; debug builds look the field up by its key path at run time.
@dynamicMemberLookup
public struct StorageView<Value>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: UnsafeMutableRawPointer

  /// The storage that the view belongs to, when it is a copy: for reloading.
  @usableFromInline
  let copy: ViewedCopy?

  @inlinable
  @inline(__always)
  @_lifetime(immortal)
  init(_ address: UnsafeMutableRawPointer, copy: ViewedCopy?) {
    self.address = address
    self.copy = copy
  }

  @inlinable
  @inline(__always)
  @_lifetime(copy parent)
  init<Parent>(_ address: UnsafeMutableRawPointer, inside parent: borrowing StorageView<Parent>) {
    self.address = address
    copy = parent.copy
  }

  @inlinable
  @inline(__always)
  @_lifetime(copy parent)
  init<Parent>(_ address: UnsafeMutableRawPointer, inside parent: borrowing ArrayView<Parent>) {
    self.address = address
    copy = parent.copy
  }

  // MARK: Fields

  /// A scalar field: one volatile load or store of its width.
  @inlinable
  public subscript<Field: MapScalar>(dynamicMember field: WritableKeyPath<Value, Field>) -> Field {
    @inline(__always) get { self[field] }
    @inline(__always) nonmutating set { self[field] = newValue }
  }

  /// A scalar field that the value's type declares with `let`: one volatile load of its width.
  @inlinable
  public subscript<Field: MapScalar>(dynamicMember field: KeyPath<Value, Field>) -> Field {
    @inline(__always) get { self[field] }
  }

  /// A structure inside the value, as a view of its own. Costs nothing.
  @inlinable
  @_disfavoredOverload  // A scalar is meant by the others.
  public subscript<Field>(
    dynamicMember field: KeyPath<Value, Field>
  ) -> StorageView<Field> {
    @inline(__always)
    @_lifetime(copy self)
    get { StorageView<Field>(address + MemoryLayout<Value>.fieldOffset(of: field), inside: self) }
  }

  /// An array inside the value. Costs nothing.
  @inlinable
  public subscript<let count: Int, Element: MapField>(
    dynamicMember field: KeyPath<Value, InlineArray<count, Element>>
  ) -> ArrayView<Element> {
    @inline(__always)
    @_lifetime(copy self)
    get {
      ArrayView(
        address + MemoryLayout<Value>.fieldOffset(of: field),
        count: count,
        inside: self
      )
    }
  }

  /// A scalar field by an explicit key path, however deep: one volatile load or store.
  ///
  /// Use it for a field whose name is that of a member of this type, such as `\.array`.
  @inlinable
  public subscript<Field: MapScalar>(field: WritableKeyPath<Value, Field>) -> Field {
    @inline(__always) get {
      Field(mapBits: Field.Bits._load(address + MemoryLayout<Value>.fieldOffset(of: field)))
    }
    @inline(__always) nonmutating set {
      Field.Bits._store(address + MemoryLayout<Value>.fieldOffset(of: field), newValue.mapBits)
    }
  }

  /// A scalar field by an explicit key path, read only: one volatile load.
  @inlinable
  public subscript<Field: MapScalar>(field: KeyPath<Value, Field>) -> Field {
    @inline(__always) get {
      Field(mapBits: Field.Bits._load(address + MemoryLayout<Value>.fieldOffset(of: field)))
    }
  }

  /// A C array that Swift imported as a tuple, element by element.
  ///
  /// - Parameters:
  ///   - field: The tuple.
  ///   - element: The type of its elements; their number follows from the sizes.
  /// - Returns: The elements. Costs nothing by itself.
  /// - Precondition: The tuple is a whole number of such elements.
  @inlinable
  @inline(__always)
  @_lifetime(copy self)
  public func array<Tuple, Element>(
    _ field: KeyPath<Value, Tuple>,
    of element: Element.Type
  ) -> ArrayView<Element> {
    let (count, rest) = MemoryLayout<Tuple>.size.quotientAndRemainder(
      dividingBy: MemoryLayout<Element>.stride
    )
    precondition(rest == 0, "the field is not a whole number of these elements")
    let offset = MemoryLayout<Value>.fieldOffset(of: field)
    precondition(
      offset % MemoryLayout<Element>.alignment == 0,
      "the field is not aligned for these elements"
    )
    return ArrayView(address + offset, count: count, inside: self)
  }

  // MARK: The whole value

  /// A copy of the whole value. Each byte is loaded once, and no field is torn.
  ///
  /// Not atomic as a whole: a program that writes meanwhile may leave some fields old and some new. For
  /// several fields that belong together see ``readConsistently(sequence:attempts:_:)``. A `Bool` in
  /// the value has to be 0 or 1 in memory, as C's `bool` is; reading the field by itself takes any
  /// byte.
  @inlinable
  @inline(__always)
  public func copyValue() -> Value {
    mms_compiler_barrier()
    // The first load is only there because a variable needs a value; in release mode there is one.
    var value = address.load(as: Value.self)
    withUnsafeMutablePointer(to: &value) { mms_copy_once($0, address, MemoryLayout<Value>.size) }
    return value
  }

  /// Overwrites the whole value, padding included. Each byte is stored once, and no field is torn; not
  /// atomic as a whole.
  @inlinable
  @inline(__always)
  public func replaceValue(with newValue: Value) {
    withUnsafePointer(to: newValue) { mms_copy_once(address, $0, MemoryLayout<Value>.size) }
  }
}

extension StorageView where Value: MapScalar {
  /// The value of a map that holds a bare scalar: one volatile load or store of its width.
  @inlinable
  public var value: Value {
    @inline(__always) get { Value(mapBits: Value.Bits._load(address)) }
    @inline(__always) nonmutating set { Value.Bits._store(address, newValue.mapBits) }
  }
}

extension StorageView {
  /// A view for the test library's fake BPF programs; the caller keeps the memory alive.
  @_lifetime(immortal)
  package init(storageAt address: UnsafeMutableRawPointer) {
    self.init(address, copy: nil)
  }
}
