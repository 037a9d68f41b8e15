// SPDX-License-Identifier: Apache-2.0
public import Synchronization

/// The scalar fields of a value, for atomic operations.
///
/// ```swift
/// try work.withCurrent { work in
///   work.atomic.hits.wrappingAdd(1)
/// }
/// ```
///
/// Like a ``StorageView``, it is always borrowed and cannot escape from the closure.
@dynamicMemberLookup
@safe
public struct AtomicFields<Value: MapField>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: FieldAddress

  @inlinable
  @inline(__always)
  @_lifetime(immortal)
  init(at address: FieldAddress) { self.address = address }

  /// A scalar field for atomic operations. Adds no instructions.
  ///
  /// - Precondition: The field is aligned to its width, as in every C structure that is not packed.
  @inlinable
  @_disfavoredOverload
  public subscript<Field: MapScalar>(
    dynamicMember field: WritableKeyPath<Value, Field>
  ) -> AtomicField<Field> {
    @inline(__always) @_lifetime(borrow self) _read {
      let offset = MemoryLayout<Value>.fieldOffset(of: field)
      let width = FieldAddress.width(of: Field.self)
      precondition(
        offset % width == 0 && address.isAligned(to: width),
        "the field is not aligned to its width, so there are no atomic operations on it"
      )
      yield AtomicField<Field>(at: address.advanced(by: offset))
    }
  }
}

extension StorageView {
  /// The scalar fields for atomic operations. Adds no instructions.
  @inlinable
  public var atomic: AtomicFields<Value> {
    @inline(__always) @_lifetime(borrow self) _read { yield AtomicFields(at: address) }
  }
}

/// A scalar field for atomic operations, for a field that a BPF program changes with `__sync_*`.
///
/// Read-modify-write operations are sequentially consistent, like the kernel's.
/// With a backend that copies (``BackendKind/lookup``), they are atomic on the copy only: if the view
/// changes the field, a change by the program during the view is overwritten.
///
/// Like a ``StorageView``, it is always borrowed and cannot escape from the closure.
@safe
public struct AtomicField<Scalar: MapScalar>: ~Copyable, ~Escapable {
  @usableFromInline
  let address: FieldAddress

  @inlinable
  @inline(__always)
  @_lifetime(immortal)
  init(at address: FieldAddress) { self.address = address }

  /// Loads the field. The ordering is a type of the standard library's Synchronization module; a constant adds
  /// no branch.
  @inlinable
  @inline(__always)
  public func load(ordering: AtomicLoadOrdering) -> Scalar {
    switch ordering {
    case .relaxed: address.load(as: Scalar.self)
    case .acquiring: address.loadAcquire(as: Scalar.self)
    default: address.loadSequentiallyConsistent(as: Scalar.self)
    }
  }

  /// Stores the field. The ordering is a type of the standard library's Synchronization module; a constant adds
  /// no branch.
  @inlinable
  @inline(__always)
  public func store(_ value: Scalar, ordering: AtomicStoreOrdering) {
    switch ordering {
    case .relaxed: address.store(value)
    case .releasing: address.storeRelease(value)
    default: address.storeSequentiallyConsistent(value)
    }
  }

  /// Replaces the value, and returns the previous one.
  @inlinable
  @inline(__always)
  public func exchange(_ value: Scalar) -> Scalar { address.exchange(value) }

  /// Replaces the value with `desired` if it equals `expected`. Never fails spuriously.
  ///
  /// - Returns: Whether the value was replaced, and the previous value.
  @inlinable
  @inline(__always)
  @discardableResult
  public func compareExchange(expected: Scalar, desired: Scalar)
    -> (exchanged: Bool, original: Scalar)
  {
    address.compareExchange(expected: expected, desired: desired)
  }
}

extension AtomicField where Scalar: FixedWidthInteger {
  /// Adds with wraparound, as the kernel does, and returns the previous value.
  @inlinable
  @inline(__always)
  @discardableResult
  public func wrappingAdd(_ operand: Scalar) -> Scalar { address.fetchAdd(operand) }

  /// Applies a bitwise AND, and returns the previous value.
  @inlinable
  @inline(__always)
  @discardableResult
  public func bitwiseAnd(_ operand: Scalar) -> Scalar { address.fetchAnd(operand) }

  /// Applies a bitwise OR, and returns the previous value.
  @inlinable
  @inline(__always)
  @discardableResult
  public func bitwiseOr(_ operand: Scalar) -> Scalar { address.fetchOr(operand) }
}
