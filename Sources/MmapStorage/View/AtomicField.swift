/// A scalar field for atomic operations, because a BPF program may use `__sync_*` on the same
/// bytes.
///
/// The operations that read and write in one step are sequentially consistent, as the kernel's are.
/// With a backend that copies (``BackendKind/lookup``) they are atomic on the copy only: what the
/// program does to the same field while the view is in use is overwritten if the view changed it.
public struct AtomicField<Scalar: MapScalar>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: UnsafeMutableRawPointer

  @inlinable
  @inline(__always)
  @_lifetime(copy parent)
  init<Parent>(_ address: UnsafeMutableRawPointer, inside parent: borrowing StorageView<Parent>) {
    precondition(
      UInt(bitPattern: address) % UInt(MemoryLayout<Scalar.Bits>.size) == 0,
      "the field is not aligned to its width, so there are no atomic operations on it"
    )
    self.address = address
  }

  /// One atomic load.
  @inlinable
  @inline(__always)
  public func load(ordering: AtomicFieldLoadOrdering) -> Scalar {
    switch ordering {
    case .relaxed: Scalar(mapBits: Scalar.Bits._load(address))
    case .acquiring: Scalar(mapBits: Scalar.Bits._loadAcquire(address))
    case .sequentiallyConsistent:
      Scalar(mapBits: Scalar.Bits._loadSequentiallyConsistent(address))
    }
  }

  /// One atomic store.
  @inlinable
  @inline(__always)
  public func store(_ value: Scalar, ordering: AtomicFieldStoreOrdering) {
    switch ordering {
    case .relaxed: Scalar.Bits._store(address, value.mapBits)
    case .releasing: Scalar.Bits._storeRelease(address, value.mapBits)
    case .sequentiallyConsistent: Scalar.Bits._storeSequentiallyConsistent(address, value.mapBits)
    }
  }

  /// Stores a value and gives back the one that stood there.
  @inlinable
  @inline(__always)
  public func exchange(_ value: Scalar) -> Scalar {
    Scalar(mapBits: Scalar.Bits._exchange(address, value.mapBits))
  }

  /// Stores `desired` if `expected` stands there. Never fails spuriously. Gives back what stood
  /// there, and whether it was replaced.
  @inlinable
  @inline(__always)
  @discardableResult
  public func compareExchange(expected: Scalar, desired: Scalar)
    -> (exchanged: Bool, original: Scalar)
  {
    var original = expected.mapBits
    let exchanged = Scalar.Bits._compareExchange(address, &original, desired.mapBits)
    return (exchanged, Scalar(mapBits: original))
  }
}

extension AtomicField where Scalar: FixedWidthInteger {
  /// Adds with wrap-around, as the kernel does; gives back what stood there before.
  @inlinable
  @inline(__always)
  @discardableResult
  public func wrappingAdd(_ operand: Scalar) -> Scalar {
    Scalar(mapBits: Scalar.Bits._fetchAdd(address, operand.mapBits))
  }

  /// Bitwise and; gives back what stood there before.
  @inlinable
  @inline(__always)
  @discardableResult
  public func bitwiseAnd(_ operand: Scalar) -> Scalar {
    Scalar(mapBits: Scalar.Bits._fetchAnd(address, operand.mapBits))
  }

  /// Bitwise or; gives back what stood there before.
  @inlinable
  @inline(__always)
  @discardableResult
  public func bitwiseOr(_ operand: Scalar) -> Scalar {
    Scalar(mapBits: Scalar.Bits._fetchOr(address, operand.mapBits))
  }
}

/// What an atomic load orders.
@frozen
public enum AtomicFieldLoadOrdering: Sendable {
  /// Nothing but the field itself.
  case relaxed
  /// Later accesses stay behind the load.
  case acquiring
  /// One order of all such operations for all threads.
  case sequentiallyConsistent
}

/// What an atomic store orders.
@frozen
public enum AtomicFieldStoreOrdering: Sendable {
  /// Nothing but the field itself.
  case relaxed
  /// Earlier accesses stay before the store.
  case releasing
  /// One order of all such operations for all threads.
  case sequentiallyConsistent
}

extension StorageView {
  /// A scalar field for atomic operations. Costs nothing by itself.
  ///
  /// - Precondition: The field is aligned to its width, as it is in every C structure that is not
  ///   packed.
  @inlinable
  @inline(__always)
  @_lifetime(copy self)
  public func atomic<Field: MapScalar>(
    _ field: WritableKeyPath<Value, Field>
  ) -> AtomicField<Field> {
    let offset = MemoryLayout<Value>.fieldOffset(of: field)
    precondition(
      offset % MemoryLayout<Field.Bits>.size == 0,
      "the field is not aligned to its width, so there are no atomic operations on it"
    )
    return AtomicField(address + offset, inside: self)
  }
}
