// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim
package import LibBPF

/// The address of a field in a task's storage, with the accesses of the views.
///
/// All unsafe code of the views is in this file. It relies on one invariant: `pointer` is the address
/// of a value, or of a field in it, that stays mapped while the view exists which holds this address.
/// `withCurrent` establishes it. Views cannot be copied or escape, and offsets come from key paths of
/// the value's type or from checked indices.
@usableFromInline
@safe
package struct FieldAddress {
  @usableFromInline
  let pointer: UnsafeMutableRawPointer

  @inlinable
  @inline(__always)
  package init(_ pointer: UnsafeMutableRawPointer) {
    unsafe self.pointer = pointer
  }

  @inlinable
  @inline(__always)
  func advanced(by offset: Int) -> FieldAddress {
    unsafe FieldAddress(pointer + offset)
  }

  @inlinable
  @inline(__always)
  func isAligned(to size: Int) -> Bool {
    unsafe UInt(bitPattern: pointer) % UInt(size) == 0
  }
}

// MARK: Scalars

// The width is a constant in specialized functions, so only one case of each remains.
extension FieldAddress {
  /// 1, 2, 4 or 8.
  @inlinable
  @inline(__always)
  static func width<Scalar: MapScalar>(of type: Scalar.Type) -> Int {
    let size = MemoryLayout<Scalar>.size
    precondition(
      size == 1 || size == 2 || size == 4 || size == 8,
      "a MapScalar has 1, 2, 4 or 8 bytes"
    )
    return size
  }

  /// The bits of a scalar, as the lower bits of the result.
  ///
  /// Each cast is between types of the same size, and the value is the process's own. A described scalar
  /// has one stored property of its size, and so no padding.
  @inlinable
  @inline(__always)
  static func bits<Scalar: MapScalar>(of scalar: Scalar) -> UInt64 {
    switch width(of: Scalar.self) {
    case 1: unsafe UInt64(unsafeBitCast(scalar, to: UInt8.self))
    case 2: unsafe UInt64(unsafeBitCast(scalar, to: UInt16.self))
    case 4: unsafe UInt64(unsafeBitCast(scalar, to: UInt32.self))
    default: unsafe unsafeBitCast(scalar, to: UInt64.self)
    }
  }

  /// The scalar with these lower bits. A `Bool` is true for every byte but 0, as in C.
  ///
  /// The bits come from a program or another process, and may have any value. Fields of views were
  /// described, and places are generated for described fields, so only a `Bool` has invalid patterns. A
  /// type with invalid patterns has the size of its `Optional`: it either wraps a `Bool`, or has no
  /// description and this traps.
  @inlinable
  @inline(__always)
  static func scalar<Scalar: MapScalar>(_ bits: UInt64) -> Scalar {
    if Scalar.self == Bool.self {
      return unsafe unsafeBitCast(UInt8(truncatingIfNeeded: bits) != 0, to: Scalar.self)
    }
    if MemoryLayout<Scalar?>.size == MemoryLayout<Scalar>.size { return wrapper(bits) }
    return switch width(of: Scalar.self) {
    case 1: unsafe unsafeBitCast(UInt8(truncatingIfNeeded: bits), to: Scalar.self)
    case 2: unsafe unsafeBitCast(UInt16(truncatingIfNeeded: bits), to: Scalar.self)
    case 4: unsafe unsafeBitCast(UInt32(truncatingIfNeeded: bits), to: Scalar.self)
    default: unsafe unsafeBitCast(bits, to: Scalar.self)
    }
  }

  @usableFromInline
  static func wrapper<Scalar: MapScalar>(_ bits: UInt64) -> Scalar {
    var bits = bits.littleEndian
    return withAddress(of: &bits, 0..<width(of: Scalar.self)) { $0.loadWhole(as: Scalar.self) }
  }

  /// One volatile load.
  @inlinable
  @inline(__always)
  func load<Scalar: MapScalar>(as type: Scalar.Type) -> Scalar {
    unsafe load(with: mms_load8, mms_load16, mms_load32, mms_load64)
  }

  /// One volatile store.
  @inlinable
  @inline(__always)
  func store<Scalar: MapScalar>(_ value: Scalar) {
    unsafe store(value, with: mms_store8, mms_store16, mms_store32, mms_store64)
  }

  /// One atomic load with acquire ordering.
  @inlinable
  @inline(__always)
  func loadAcquire<Scalar: MapScalar>(as type: Scalar.Type) -> Scalar {
    unsafe load(with: mms_load_acquire8, mms_load_acquire16, mms_load_acquire32, mms_load_acquire64)
  }

  /// One atomic load with sequentially consistent ordering.
  @inlinable
  @inline(__always)
  func loadSequentiallyConsistent<Scalar: MapScalar>(as type: Scalar.Type) -> Scalar {
    unsafe load(with: mms_load_seq_cst8, mms_load_seq_cst16, mms_load_seq_cst32, mms_load_seq_cst64)
  }

  /// One atomic store with release ordering.
  @inlinable
  @inline(__always)
  func storeRelease<Scalar: MapScalar>(_ value: Scalar) {
    unsafe store(
      value,
      with: mms_store_release8,
      mms_store_release16,
      mms_store_release32,
      mms_store_release64
    )
  }

  /// One atomic store with sequentially consistent ordering.
  @inlinable
  @inline(__always)
  func storeSequentiallyConsistent<Scalar: MapScalar>(_ value: Scalar) {
    unsafe store(
      value,
      with: mms_store_seq_cst8,
      mms_store_seq_cst16,
      mms_store_seq_cst32,
      mms_store_seq_cst64
    )
  }

  /// Loads with the operation of the scalar's width.
  @inlinable
  @inline(__always)
  func load<Scalar: MapScalar>(
    with load8: (UnsafeRawPointer) -> UInt8,
    _ load16: (UnsafeRawPointer) -> UInt16,
    _ load32: (UnsafeRawPointer) -> UInt32,
    _ load64: (UnsafeRawPointer) -> UInt64
  ) -> Scalar {
    let bits =
      switch Self.width(of: Scalar.self) {
      case 1: unsafe UInt64(load8(pointer))
      case 2: unsafe UInt64(load16(pointer))
      case 4: unsafe UInt64(load32(pointer))
      default: unsafe load64(pointer)
      }
    return Self.scalar(bits)
  }

  /// Stores with the operation of the scalar's width.
  @inlinable
  @inline(__always)
  func store<Scalar: MapScalar>(
    _ value: Scalar,
    with store8: (UnsafeMutableRawPointer, UInt8) -> Void,
    _ store16: (UnsafeMutableRawPointer, UInt16) -> Void,
    _ store32: (UnsafeMutableRawPointer, UInt32) -> Void,
    _ store64: (UnsafeMutableRawPointer, UInt64) -> Void
  ) {
    let bits = Self.bits(of: value)
    switch Self.width(of: Scalar.self) {
    case 1: unsafe store8(pointer, UInt8(truncatingIfNeeded: bits))
    case 2: unsafe store16(pointer, UInt16(truncatingIfNeeded: bits))
    case 4: unsafe store32(pointer, UInt32(truncatingIfNeeded: bits))
    default: unsafe store64(pointer, bits)
    }
  }

  /// Adds atomically with wraparound, and returns the previous value.
  @inlinable
  @inline(__always)
  func fetchAdd<Scalar: MapScalar>(_ operand: Scalar) -> Scalar {
    unsafe modify(operand, mms_fetch_add8, mms_fetch_add16, mms_fetch_add32, mms_fetch_add64)
  }

  /// Applies a bitwise AND atomically, and returns the previous value.
  @inlinable
  @inline(__always)
  func fetchAnd<Scalar: MapScalar>(_ operand: Scalar) -> Scalar {
    unsafe modify(operand, mms_fetch_and8, mms_fetch_and16, mms_fetch_and32, mms_fetch_and64)
  }

  /// Applies a bitwise OR atomically, and returns the previous value.
  @inlinable
  @inline(__always)
  func fetchOr<Scalar: MapScalar>(_ operand: Scalar) -> Scalar {
    unsafe modify(operand, mms_fetch_or8, mms_fetch_or16, mms_fetch_or32, mms_fetch_or64)
  }

  /// Replaces the value atomically, and returns the previous one.
  @inlinable
  @inline(__always)
  func exchange<Scalar: MapScalar>(_ value: Scalar) -> Scalar {
    unsafe modify(value, mms_exchange8, mms_exchange16, mms_exchange32, mms_exchange64)
  }

  /// Applies the operation of the scalar's width, and returns the previous value.
  @inlinable
  @inline(__always)
  func modify<Scalar: MapScalar>(
    _ operand: Scalar,
    _ operation8: (UnsafeMutableRawPointer, UInt8) -> UInt8,
    _ operation16: (UnsafeMutableRawPointer, UInt16) -> UInt16,
    _ operation32: (UnsafeMutableRawPointer, UInt32) -> UInt32,
    _ operation64: (UnsafeMutableRawPointer, UInt64) -> UInt64
  ) -> Scalar {
    let bits = Self.bits(of: operand)
    let previous =
      switch Self.width(of: Scalar.self) {
      case 1: unsafe UInt64(operation8(pointer, UInt8(truncatingIfNeeded: bits)))
      case 2: unsafe UInt64(operation16(pointer, UInt16(truncatingIfNeeded: bits)))
      case 4: unsafe UInt64(operation32(pointer, UInt32(truncatingIfNeeded: bits)))
      default: unsafe operation64(pointer, bits)
      }
    return Self.scalar(previous)
  }

  /// Replaces the value atomically if it equals `expected`, and returns the previous one.
  @inlinable
  @inline(__always)
  func compareExchange<Scalar: MapScalar>(
    expected: Scalar,
    desired: Scalar
  ) -> (exchanged: Bool, original: Scalar) {
    let (expected, desired) = (Self.bits(of: expected), Self.bits(of: desired))
    let exchanged: Bool
    let previous: UInt64
    switch Self.width(of: Scalar.self) {
    case 1:
      var original = UInt8(truncatingIfNeeded: expected)
      exchanged = unsafe mms_compare_exchange8(
        pointer,
        &original,
        UInt8(truncatingIfNeeded: desired)
      )
      previous = UInt64(original)
    case 2:
      var original = UInt16(truncatingIfNeeded: expected)
      exchanged = unsafe mms_compare_exchange16(
        pointer,
        &original,
        UInt16(truncatingIfNeeded: desired)
      )
      previous = UInt64(original)
    case 4:
      var original = UInt32(truncatingIfNeeded: expected)
      exchanged = unsafe mms_compare_exchange32(
        pointer,
        &original,
        UInt32(truncatingIfNeeded: desired)
      )
      previous = UInt64(original)
    default:
      var original = expected
      exchanged = unsafe mms_compare_exchange64(pointer, &original, desired)
      previous = original
    }
    return (exchanged, Self.scalar(previous))
  }
}

// MARK: Bit-fields

extension FieldAddress {
  /// One volatile load of 1, 2, 4 or 8 bytes.
  @inlinable
  @inline(__always)
  func loadWord(size: Int) -> UInt64 {
    switch size {
    case 1: unsafe UInt64(mms_load8(pointer))
    case 2: unsafe UInt64(mms_load16(pointer))
    case 4: unsafe UInt64(mms_load32(pointer))
    default: unsafe mms_load64(pointer)
    }
  }

  /// One volatile store of 1, 2, 4 or 8 bytes.
  @inlinable
  @inline(__always)
  func storeWord(_ bits: UInt64, size: Int) {
    switch size {
    case 1: unsafe mms_store8(pointer, UInt8(truncatingIfNeeded: bits))
    case 2: unsafe mms_store16(pointer, UInt16(truncatingIfNeeded: bits))
    case 4: unsafe mms_store32(pointer, UInt32(truncatingIfNeeded: bits))
    default: unsafe mms_store64(pointer, bits)
    }
  }

  /// Loads bytes one by one, and returns the bits from bit `shift` of the first one on.
  @usableFromInline
  func loadBits(in firstByte: Int, _ lastByte: Int, shift: UInt64) -> UInt64 {
    var bits: UInt64 = 0
    for byte in firstByte...lastByte {
      let value = UInt64(advanced(by: byte).load(as: UInt8.self))
      let position = (byte - firstByte) * 8 - Int(shift)
      bits |= position < 0 ? value >> UInt64(-position) : value << UInt64(position)
    }
    return bits
  }

  /// Changes the bits of `mask` from bit `shift` of the first byte on: loads and stores each byte.
  @usableFromInline
  func storeBits(
    _ bits: UInt64,
    mask: UInt64,
    in firstByte: Int,
    _ lastByte: Int,
    shift: UInt64
  ) {
    for byte in firstByte...lastByte {
      let target = advanced(by: byte)
      let position = (byte - firstByte) * 8 - Int(shift)
      func part(_ bits: UInt64) -> UInt8 {
        UInt8(
          truncatingIfNeeded: position < 0 ? bits << UInt64(-position) : bits >> UInt64(position)
        )
      }
      target.store(target.load(as: UInt8.self) & ~part(mask) | part(bits))
    }
  }
}

// MARK: Whole values

extension FieldAddress {
  /// Copies a whole value out: each byte is loaded once, no field is torn, and each `Bool` becomes
  /// 0 or 1.
  ///
  /// - Precondition: `Value` has a description, so that every bit pattern is a valid value once its
  ///   `Bool` bytes are 0 or 1.
  @inlinable
  @inline(__always)
  package func loadWhole<Value: MapField>(as type: Value.Type) -> Value {
    mms_compiler_barrier()
    return unsafe withUnsafeTemporaryAllocation(of: Value.self, capacity: 1) { copy in
      // A temporary allocation of one element has a base address.
      let start = unsafe UnsafeMutableRawPointer(copy.baseAddress.unsafelyUnwrapped)
      unsafe mms_copy_once(start, pointer, MemoryLayout<Value>.size)
      if BooleanBytes.mayExist(in: type) {
        unsafe BooleanBytes(of: type).normalize(at: FieldAddress(start))
      }
      return unsafe copy.moveElement(from: 0)
    }
  }

  /// Copies a whole value in: each byte is stored once, and no field is torn.
  @inlinable
  @inline(__always)
  package func storeWhole<Value: MapField>(_ value: Value) {
    unsafe withUnsafePointer(to: value) {
      unsafe mms_copy_once(pointer, $0, MemoryLayout<Value>.size)
    }
  }
}

// MARK: Other memory

extension StorageView {
  /// A view for the test library's simulated BPF programs. The caller keeps the memory alive.
  @_lifetime(immortal)
  package init(storageAt address: UnsafeMutableRawPointer) {
    unsafe self.init(at: FieldAddress(address), copy: nil)
  }
}

extension MemoryMapping {
  /// The address of a field. Traps if the field is not in the memory, which the caller keeps.
  package func field<Field>(_ type: Field.Type, at offset: Int) -> FieldAddress {
    unsafe precondition(
      offset >= 0 && offset + MemoryLayout<Field>.size <= bytes.count,
      "the field is outside of the mapped memory"
    )
    // A mapping has a base address.
    return unsafe FieldAddress(bytes.baseAddress.unsafelyUnwrapped + offset)
  }
}

/// The fields of mapped memory. Keeps the mapping alive.
@usableFromInline
@safe
package struct MappedFields: @unchecked Sendable {
  private let memory: MemoryMapping
  @usableFromInline
  let start: FieldAddress
  @usableFromInline
  let size: Int
  @usableFromInline
  package let isWritable: Bool

  package init(of memory: MemoryMapping) {
    self.memory = memory
    start = memory.field(Void.self, at: 0)
    size = unsafe memory.bytes.count
    isWritable = memory.isWritable
  }

  /// The address of a field. Traps if the field is not in the memory. The caller keeps these fields.
  @inlinable
  @inline(__always)
  package func field<Field>(_ type: Field.Type, at offset: Int) -> FieldAddress {
    precondition(
      offset >= 0 && offset + MemoryLayout<Field>.size <= size,
      "the field is outside of the mapped memory"
    )
    return start.advanced(by: offset)
  }
}

/// Lends the address of a copy, for the bytes `range` of it. Traps if the copy does not have them.
@inlinable
@inline(__always)
func withAddress<Value, R>(
  of value: inout Value,
  _ range: Range<Int>,
  _ body: (FieldAddress) -> R
) -> R {
  precondition(
    range.lowerBound >= 0 && range.upperBound <= MemoryLayout<Value>.size,
    "the place is outside of the value"
  )
  return unsafe withUnsafeMutableBytes(of: &value) {
    unsafe body(FieldAddress($0.baseAddress.unsafelyUnwrapped))
  }
}

/// Reads a value from bytes. Traps if there are too few, or if `Value` has no description.
package func loadWhole<Value: MapField>(
  _ type: Value.Type,
  from bytes: [UInt8],
  at offset: Int = 0
) -> Value {
  let size = MemoryLayout<Value>.size
  return unsafe withUnsafeTemporaryAllocation(
    byteCount: max(1, size),
    alignment: max(16, MemoryLayout<Value>.alignment)
  ) { copy in
    unsafe copy.copyBytes(from: bytes[offset..<offset + size])
    return unsafe FieldAddress(copy.baseAddress.unsafelyUnwrapped).loadWhole(as: type)
  }
}

/// Copies `ranges` of a value into `count` bytes that are zero elsewhere. Traps if a range is in the
/// value or in the bytes only.
package func copyBytes<Value: MapField>(
  of value: Value,
  _ ranges: [Range<Int>],
  count: Int
) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: count)
  unsafe withUnsafeBytes(of: value) { value in
    for range in ranges {
      precondition(range.lowerBound >= 0 && range.upperBound <= MemoryLayout<Value>.size)
      for index in range { bytes[index] = unsafe value[index] }
    }
  }
  return bytes
}
