// SPDX-License-Identifier: Apache-2.0

extension StorageView where Value: PlacedMapValue {
  @inlinable
  @inline(__always)
  func address<Field>(of place: Place<Field>) -> FieldAddress {
    precondition(
      place.offset >= 0
        && place.offset + MemoryLayout<Field>.size <= MemoryLayout<Value>.size,
      "the place is outside of the value"
    )
    return address.advanced(by: place.offset)
  }

  @inlinable
  @inline(__always)
  func loadBits<Field>(of place: BitField<Field>) -> Field {
    precondition(place.firstByte >= 0 && place.lastByte < MemoryLayout<Value>.size)
    return place.load(at: address)
  }

  @inlinable
  @inline(__always)
  func storeBits<Field>(_ field: Field, of place: BitField<Field>) {
    precondition(place.firstByte >= 0 && place.lastByte < MemoryLayout<Value>.size)
    place.store(field, at: address)
  }

  /// A scalar member without a stored property: one volatile load or store of its width.
  @inlinable
  public subscript<Field: MapScalar>(
    dynamicMember place: KeyPath<Value.Places, Place<Field>>
  ) -> Field {
    @inline(__always) get { address(of: Value.places[keyPath: place]).load(as: Field.self) }
    @inline(__always) nonmutating set {
      address(of: Value.places[keyPath: place]).store(newValue)
    }
  }

  /// A structure without a stored property, as a borrowed view. Adds no instructions.
  @inlinable
  public subscript<Field: MapValue>(
    dynamicMember place: KeyPath<Value.Places, Place<Field>>
  ) -> StorageView<Field> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield StorageView<Field>(at: address(of: Value.places[keyPath: place]), copy: copy)
    }
  }

  /// An array without a stored property, as a borrowed view. Adds no instructions.
  @inlinable
  public subscript<let count: Int, Element: MapField>(
    dynamicMember place: KeyPath<Value.Places, Place<InlineArray<count, Element>>>
  ) -> ArrayView<Element> {
    @inline(__always) @_lifetime(borrow self) _read {
      yield ArrayView<Element>(
        at: address(of: Value.places[keyPath: place]),
        count: count,
        copy: copy
      )
    }
  }

  /// A member that is not aligned. It is copied as a whole, so an access may be torn.
  @inlinable
  public subscript<Field: MapField>(
    dynamicMember place: KeyPath<Value.Places, UnalignedPlace<Field>>
  ) -> Field {
    @inline(__always) get {
      address(of: Place<Field>(Value.places[keyPath: place].offset)).loadWhole(as: Field.self)
    }
    @inline(__always) nonmutating set {
      address(of: Place<Field>(Value.places[keyPath: place].offset)).storeWhole(newValue)
    }
  }

  /// A bit-field. A store reads the bytes that contain it and writes them again, which is not atomic.
  @inlinable
  public subscript<Field: MapScalar>(
    dynamicMember place: KeyPath<Value.Places, BitField<Field>>
  ) -> Field {
    @inline(__always) get { loadBits(of: Value.places[keyPath: place]) }
    @inline(__always) nonmutating set { storeBits(newValue, of: Value.places[keyPath: place]) }
  }
}

// MARK: Members by key path

/// Members without a stored property by their key path, such as `view[\.low]`. They are accessed as by
/// their name.
extension StorageView where Value: PlacedMapValue {
  /// A scalar member without a stored property: one volatile load or store of its width.
  @inlinable
  public subscript<Field: MapScalar>(place: KeyPath<Value.Places, Place<Field>>) -> Field {
    @inline(__always) get { address(of: Value.places[keyPath: place]).load(as: Field.self) }
    @inline(__always) nonmutating set {
      address(of: Value.places[keyPath: place]).store(newValue)
    }
  }

  /// A member that is not aligned. It is copied as a whole, so an access may be torn.
  @inlinable
  public subscript<Field: MapField>(place: KeyPath<Value.Places, UnalignedPlace<Field>>) -> Field {
    @inline(__always) get {
      address(of: Place<Field>(Value.places[keyPath: place].offset)).loadWhole(as: Field.self)
    }
    @inline(__always) nonmutating set {
      address(of: Place<Field>(Value.places[keyPath: place].offset)).storeWhole(newValue)
    }
  }

  /// A bit-field. A store reads the bytes that contain it and writes them again, which is not atomic:
  /// if a program writes other bits of these bytes at the same time, its write is lost.
  @inlinable
  public subscript<Field: MapScalar>(place: KeyPath<Value.Places, BitField<Field>>) -> Field {
    @inline(__always) get { loadBits(of: Value.places[keyPath: place]) }
    @inline(__always) nonmutating set { storeBits(newValue, of: Value.places[keyPath: place]) }
  }
}

extension AtomicFields where Value: PlacedMapValue {
  /// A scalar member without a stored property, for atomic operations.
  ///
  /// - Precondition: The value is aligned to the member's width.
  @inlinable
  public subscript<Field: MapScalar>(
    dynamicMember place: KeyPath<Value.Places, Place<Field>>
  ) -> AtomicField<Field> {
    @inline(__always) @_lifetime(borrow self) _read {
      let target = address.advanced(by: Value.places[keyPath: place].offset)
      precondition(
        target.isAligned(to: FieldAddress.width(of: Field.self)),
        "the field is not aligned to its width, so there are no atomic operations on it"
      )
      yield AtomicField<Field>(at: target)
    }
  }
}
