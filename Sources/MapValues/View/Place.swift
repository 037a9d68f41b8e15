// SPDX-License-Identifier: Apache-2.0

internal import CLibBPFShim

/// A structure with members that have no stored property, which `BPFPlugin` generates: members of
/// unions, bit-fields, and members that are not aligned.
///
/// `places` has a property with the name of each such member. Views use it to access the member.
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
  @_spi(Generated)
  @inlinable
  @inline(__always)
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    loadMember(at: offset, of: value)
  }

  /// Changes the member of a copy.
  @_spi(Generated)
  @inlinable
  @inline(__always)
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
  @_spi(Generated)
  @inlinable
  @inline(__always)
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    loadMember(at: offset, of: value)
  }

  /// Changes the member of a copy.
  @_spi(Generated)
  @inlinable
  @inline(__always)
  public func store<Value: PlacedMapValue>(_ field: Field, to value: inout Value) {
    storeMember(field, at: offset, of: &value)
  }
}

/// The place of a bit-field.
///
/// A store to a bit-field reads the bytes that contain it and writes them again, as in C. It is not
/// atomic: if a program writes other bits of these bytes at the same time, its write is lost.
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
  @_spi(Generated)
  @inlinable
  @inline(__always)
  public func load<Value: PlacedMapValue>(from value: Value) -> Field {
    var copy = value
    return withAddress(of: &copy, firstByte..<lastByte + 1) { load(at: $0) }
  }

  /// Changes the bit-field of a copy. Bits that do not fit are dropped, as in C.
  @_spi(Generated)
  @inlinable
  @inline(__always)
  public func store<Value: PlacedMapValue>(_ field: Field, to value: inout Value) {
    withAddress(of: &value, firstByte..<lastByte + 1) { store(field, at: $0) }
  }

  @inlinable
  @inline(__always)
  var firstByte: Int { bit / 8 }
  @inlinable
  @inline(__always)
  var lastByte: Int { (bit + width - 1) / 8 }

  /// Whether the bytes that contain the bit-field are loaded in one piece: if they are an aligned
  /// word. Otherwise they are loaded byte by byte, so that no other member is written.
  @inlinable
  @inline(__always)
  func isOneWord(at address: FieldAddress) -> Bool {
    byteCount.nonzeroBitCount == 1 && byteCount <= 8
      && address.advanced(by: firstByte).isAligned(to: byteCount)
  }

  @inlinable
  @inline(__always)
  var byteCount: Int { lastByte - firstByte + 1 }
  /// The number of the lower bits in the first byte.
  @inlinable
  @inline(__always)
  var shift: UInt64 { UInt64(truncatingIfNeeded: bit % 8) }
  /// The number of bits that the bit-field lacks to 64.
  @inlinable
  @inline(__always)
  var unusedBits: UInt64 { UInt64(truncatingIfNeeded: 64 - width) }

  @inlinable
  @inline(__always)
  func load(at address: FieldAddress) -> Field {
    let bits =
      isOneWord(at: address)
      ? address.advanced(by: firstByte).loadWord(size: byteCount) &>> shift
      : address.loadBits(in: firstByte, lastByte, shift: shift)
    let highest = bits &<< unusedBits
    return FieldAddress.scalar(
      isSigned
        ? UInt64(bitPattern: Int64(bitPattern: highest) &>> Int64(bitPattern: unusedBits))
        : highest &>> unusedBits
    )
  }

  @inlinable
  @inline(__always)
  func store(_ field: Field, at address: FieldAddress) {
    let mask = UInt64.max &>> unusedBits
    let bits = FieldAddress.bits(of: field) & mask
    if isOneWord(at: address) {
      let word = address.advanced(by: firstByte)
      let others = word.loadWord(size: byteCount) & ~(mask &<< shift)
      word.storeWord(others | bits &<< shift, size: byteCount)
    } else {
      address.storeBits(bits, mask: mask, in: firstByte, lastByte, shift: shift)
    }
  }
}

// MARK: Copies

@inlinable
@inline(__always)
func loadMember<Field: MapField, Value>(at offset: Int, of value: Value) -> Field {
  var copy = value
  return withAddress(of: &copy, offset..<offset + MemoryLayout<Field>.size) {
    $0.advanced(by: offset).loadWhole(as: Field.self)
  }
}

@inlinable
@inline(__always)
func storeMember<Field: MapField, Value>(_ field: Field, at offset: Int, of value: inout Value) {
  withAddress(of: &value, offset..<offset + MemoryLayout<Field>.size) {
    $0.advanced(by: offset).storeWhole(field)
  }
}
