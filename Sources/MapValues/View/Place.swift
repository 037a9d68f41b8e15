// SPDX-License-Identifier: Apache-2.0

internal import CLibBPFShim

/// A structure with members that have no stored property, which `BPFPlugin` generates: members of
/// unions, bit-fields, and members that are not aligned.
///
/// `places` has a property for each such member, with the member's name. Views find the member by it.
public protocol PlacedMapValue: MapValue {
  /// The type that has a property for each member without a stored property.
  associatedtype Places
  /// The places.
  static var places: Places { get }
}

/// The place of a member that is aligned.
public struct Place<Field: MapField>: Sendable {
  @usableFromInline
  let offset: Int

  /// Creates a place, `offset` bytes from the start of the structure.
  @inlinable
  @inline(__always)
  public init(_ offset: Int) { self.offset = offset }

  /// Reads the member of a copy.
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    loadMember(at: offset, of: value)
  }

  /// Changes the member of a copy.
  public func store<Value: PlacedMapValue>(_ field: Field, to value: inout Value) {
    storeMember(field, at: offset, of: &value)
  }
}

/// The place of a member of a packed structure that is not at a multiple of its alignment.
///
/// A view copies such a member byte by byte, so an access may be torn.
public struct UnalignedPlace<Field: MapField>: Sendable {
  @usableFromInline
  let offset: Int

  /// Creates a place, `offset` bytes from the start of the structure.
  @inlinable
  @inline(__always)
  public init(_ offset: Int) { self.offset = offset }

  /// Reads the member of a copy.
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    loadMember(at: offset, of: value)
  }

  /// Changes the member of a copy.
  public func store<Value: PlacedMapValue>(_ field: Field, to value: inout Value) {
    storeMember(field, at: offset, of: &value)
  }
}

/// The place of a bit-field.
///
/// A store to a bit-field reads the bytes that contain it and writes them again, as in C. It is not
/// atomic: a program's write to other bits of these bytes meanwhile is lost.
public struct BitField<Field: MapScalar>: Sendable {
  @usableFromInline
  let bit: Int
  @usableFromInline
  let width: Int
  @usableFromInline
  let isSigned: Bool

  /// Creates a place, `bit` bits from the start of the structure.
  ///
  /// - Parameters:
  ///   - bit: The offset of the lowest bit.
  ///   - width: The number of bits, 1 to 64.
  ///   - signed: Whether the highest bit is the sign.
  @inlinable
  @inline(__always)
  public init(bit: Int, width: Int, signed: Bool) {
    self.bit = bit
    self.width = width
    isSigned = signed
  }

  /// Reads the bit-field of a copy.
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    var copy = value
    return withAddress(of: &copy, firstByte..<lastByte + 1) { load(at: $0) }
  }

  /// Changes the bit-field of a copy. Bits that do not fit are dropped, as in C.
  public func store<Value: PlacedMapValue>(_ field: Field, to value: inout Value) {
    withAddress(of: &value, firstByte..<lastByte + 1) { store(field, at: $0) }
  }

  @usableFromInline
  var firstByte: Int { bit / 8 }
  @usableFromInline
  var lastByte: Int { (bit + width - 1) / 8 }

  /// The bytes that contain the bit-field, as words that are loaded in one piece: a single one where
  /// the bytes are an aligned word, and otherwise byte by byte, so that no other member is written.
  private func isOneWord(at address: FieldAddress) -> Bool {
    let count = lastByte - firstByte + 1
    return count.nonzeroBitCount == 1 && count <= 8
      && address.advanced(by: firstByte).isAligned(to: count)
  }

  private var mask: UInt64 { width >= 64 ? .max : (1 << UInt64(width)) - 1 }

  @usableFromInline
  func load(at address: FieldAddress) -> Field {
    let shift = UInt64(bit % 8)
    var bits: UInt64 = 0
    if isOneWord(at: address) {
      bits = loadWord(lastByte - firstByte + 1, at: address.advanced(by: firstByte)) >> shift
    } else {
      for byte in firstByte...lastByte {
        let value = UInt64(address.advanced(by: byte).load(as: UInt8.self))
        let position = (byte - firstByte) * 8 - Int(shift)
        bits |= position < 0 ? value >> UInt64(-position) : value << UInt64(position)
      }
    }
    bits &= mask
    if isSigned, width < 64, bits >> UInt64(width - 1) & 1 == 1 { bits |= ~mask }
    return Field(mapBits: Field.Bits(truncatingIfNeeded: bits))
  }

  @usableFromInline
  func store(_ field: Field, at address: FieldAddress) {
    let shift = UInt64(bit % 8)
    let bits = UInt64(truncatingIfNeeded: field.mapBits) & mask
    if isOneWord(at: address) {
      let word = address.advanced(by: firstByte)
      let count = lastByte - firstByte + 1
      storeWord(loadWord(count, at: word) & ~(mask << shift) | bits << shift, count, at: word)
      return
    }
    for byte in firstByte...lastByte {
      let target = address.advanced(by: byte)
      let position = (byte - firstByte) * 8 - Int(shift)
      func part(_ bits: UInt64) -> UInt8 {
        UInt8(
          truncatingIfNeeded: position < 0 ? bits << UInt64(-position) : bits >> UInt64(position)
        )
      }
      target.store(target.load(as: UInt8.self) & ~part(mask) | part(bits))
    }
  }

  private func loadWord(_ count: Int, at address: FieldAddress) -> UInt64 {
    switch count {
    case 1: UInt64(address.load(as: UInt8.self))
    case 2: UInt64(address.load(as: UInt16.self))
    case 4: UInt64(address.load(as: UInt32.self))
    default: address.load(as: UInt64.self)
    }
  }

  private func storeWord(_ bits: UInt64, _ count: Int, at address: FieldAddress) {
    switch count {
    case 1: address.store(UInt8(truncatingIfNeeded: bits))
    case 2: address.store(UInt16(truncatingIfNeeded: bits))
    case 4: address.store(UInt32(truncatingIfNeeded: bits))
    default: address.store(bits)
    }
  }
}

// MARK: Copies

func loadMember<Field: MapField, Value>(at offset: Int, of value: Value) -> Field {
  var copy = value
  return withAddress(of: &copy, offset..<offset + MemoryLayout<Field>.size) {
    $0.advanced(by: offset).loadWhole(as: Field.self)
  }
}

func storeMember<Field: MapField, Value>(_ field: Field, at offset: Int, of value: inout Value) {
  withAddress(of: &value, offset..<offset + MemoryLayout<Field>.size) {
    $0.advanced(by: offset).storeWhole(field)
  }
}
