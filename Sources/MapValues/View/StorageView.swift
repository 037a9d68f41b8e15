// SPDX-License-Identifier: Apache-2.0
/// Gives the calling thread access to its own value, or to a structure in it.
///
/// A view exists only while the closure of `TaskLocalStorage.withCurrent(_:)` runs. It is
/// always borrowed: the compiler rejects code that copies it, stores it in a variable, an `Optional`
/// or a type of your own, returns it, keeps it across an `await`, or sends it to another thread. The
/// same holds for the views of nested structures and arrays and for atomic fields. To give such a view a
/// name, pass it to a function with a `borrowing` parameter.
///
/// Use a view only during the closure in which it was borrowed, and only on its own thread. The
/// compiler cannot enforce this for code that uses unsafe pointers, or that switches
/// stacks, for example with `makecontext`.
///
/// Fields have the names of the value's properties. Each read or write of a scalar field is one
/// volatile access of the field's width. It is not torn, elided, repeated or reordered with other
/// volatile accesses, because a BPF program may change the same bytes at any time.
///
/// ```swift
/// try tags.withCurrent { tag in
///   tag.requestID = 42            // one store
///   tag.header.attempts += 1      // a nested structure: one load, one store
///   tag.samples[3] = 7            // an array element
/// }
/// ```
///
/// Cost: with a direct backend, one instruction with a memory operand for each access in release
/// builds. Reading a bit-field takes one load, and writing it takes a load and a store, with a few
/// instructions for its bits. If its bytes are not an aligned word of 1, 2, 4 or 8 bytes, it takes
/// a call, and these accesses for each byte. Debug builds look up each key path at run time. Release builds do
/// so only for members of an anonymous C structure or union.
@dynamicMemberLookup
@safe
public struct StorageView<Value: MapField>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: FieldAddress

  /// The copy that the view shows, with a backend that copies; for reloading.
  @usableFromInline
  let copy: ViewedCopy?

  @inlinable
  @inline(__always)
  @_lifetime(immortal)
  package init(at address: FieldAddress, copy: ViewedCopy?) {
    self.address = address
    self.copy = copy
  }

  // MARK: Fields

  /// A scalar field: one volatile load or store of its width.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapScalar>(dynamicMember field: WritableKeyPath<Value, Field>) -> Field {
    @inline(__always) get { self[field] }
    @inline(__always) nonmutating set { self[field] = newValue }
  }

  /// A scalar field that the value's type declares with `let`: one volatile load of its width.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapScalar>(dynamicMember field: KeyPath<Value, Field>) -> Field {
    @inline(__always) get { self[field] }
  }

  /// A structure in the value, as a borrowed view. Adds no instructions.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapValue>(dynamicMember field: KeyPath<Value, Field>) -> StorageView<
    Field
  >
  {
    @inline(__always) @_lifetime(borrow self) _read { yield self[field] }
  }

  /// An array in the value, as a borrowed view. Adds no instructions.
  @inlinable
  @_disfavoredOverload
  public subscript<let count: Int, Element: MapField>(
    dynamicMember field: KeyPath<Value, InlineArray<count, Element>>
  ) -> ArrayView<Element> {
    @inline(__always) @_lifetime(borrow self) _read { yield self[field] }
  }

  // MARK: Fields by key path

  /// A scalar field by its key path, which may contain nested structures: one volatile load or
  /// store of its width.
  ///
  /// Use a key path for a field whose name is also that of a member of this type, such as `\.atomic`,
  /// and for a field in a structure that does not conform to ``MapValue``.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapScalar>(field: WritableKeyPath<Value, Field>) -> Field {
    @inline(__always) get { self.address(of: field).load(as: Field.self) }
    @inline(__always) nonmutating set { self.address(of: field).store(newValue) }
  }

  /// A scalar field that is declared with `let`, by its key path: one volatile load of its width.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapScalar>(field: KeyPath<Value, Field>) -> Field {
    @inline(__always) get { self.address(of: field).load(as: Field.self) }
  }

  /// A structure in the value by its key path, as a borrowed view. Adds no instructions.
  @inlinable
  public subscript<Field: MapValue>(field: KeyPath<Value, Field>) -> StorageView<Field> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield StorageView<Field>(at: self.address(of: field), copy: copy)
    }
  }

  /// An array in the value by its key path, as a borrowed view. Adds no instructions.
  @inlinable
  public subscript<let count: Int, Element: MapField>(
    field: KeyPath<Value, InlineArray<count, Element>>
  ) -> ArrayView<Element> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield ArrayView<Element>(at: self.address(of: field), count: count, copy: copy)
    }
  }

  /// A C array that Swift imports as a tuple, as a borrowed view.
  ///
  /// ```swift
  /// view[\.name, arrayOf: CChar.self][0] = 0
  /// ```
  ///
  /// Adds no instructions for the standard library's scalars. For other elements, each call looks up
  /// whether their type has a layout, which takes a few nanoseconds and no lock.
  ///
  /// - Parameters:
  ///   - field: The tuple.
  ///   - element: The type of its elements. Their number is computed from the sizes.
  /// - Precondition: The tuple consists of a whole number of such elements, and is aligned for them.
  ///   The type of the elements has a layout.
  @inlinable
  public subscript<Tuple, Element: MapField>(
    field: KeyPath<Value, Tuple>,
    arrayOf element: Element.Type
  ) -> ArrayView<Element> {
    @inline(__always) @_lifetime(borrow self) _read {
      // Swift omits the padding after the last element of a tuple.
      let (whole, rest) = MemoryLayout<Tuple>.size.quotientAndRemainder(
        dividingBy: MemoryLayout<Element>.stride
      )
      precondition(
        rest == 0 || rest == MemoryLayout<Element>.size,
        "the field is not a whole number of these elements"
      )
      let offset = MemoryLayout<Value>.fieldOffset(of: field)
      precondition(
        offset % MemoryLayout<Element>.alignment == 0,
        "the field is not aligned for these elements"
      )
      // The value's description contains the tuple's elements, which may be of another type.
      if !isStandardScalar(element) { _ = BooleanBytes(of: element) }
      yield ArrayView<Element>(
        at: address.advanced(by: offset),
        count: rest == 0 ? whole : whole + 1,
        copy: copy
      )
    }
  }

  @inlinable
  @inline(__always)
  func address<Field>(of field: KeyPath<Value, Field>) -> FieldAddress {
    address.advanced(by: MemoryLayout<Value>.fieldOffset(of: field))
  }

  // MARK: The whole value

  /// Copies the whole value. Each byte is loaded once, and no field is torn.
  ///
  /// The copy is not atomic: if a program writes at the same time, some fields may be old and others
  /// new. For fields that belong together, see ``withSeqcountRead(sequence:attempts:_:)``. A `Bool`
  /// is `true` for every byte other than 0, as in C.
  ///
  /// Cost: the copy, and a few nanoseconds if the type contains `Bool`s.
  @inlinable
  @inline(__always)
  public func load() -> Value { address.loadWhole(as: Value.self) }

  /// Overwrites the whole value, padding included. Each byte is stored once, and no field is torn.
  /// The store is not atomic.
  @inlinable
  @inline(__always)
  public func store(_ newValue: Value) { address.storeWhole(newValue) }
}

extension StorageView where Value: MapScalar {
  /// The value of a map that holds a scalar: one volatile load or store of its width.
  @inlinable
  public var value: Value {
    @inline(__always) get { address.load(as: Value.self) }
    @inline(__always) nonmutating set { address.store(newValue) }
  }
}
