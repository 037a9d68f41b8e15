// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import MapValues

/// The value of a field, read from the bytes of a map's value.
public indirect enum FieldValue: Sendable, Hashable {
  /// A signed integer.
  case signed(Int64)
  /// An unsigned integer, or the bits of a bit-field.
  case unsigned(UInt64)
  /// A C enumeration: the name of the constant, or `nil` if no constant has this number, and the number as
  /// `signed` or `unsigned`.
  case enumeration(name: String?, number: FieldValue)
  /// A floating-point number of 4 or 8 bytes.
  case floatingPoint(Double)
  /// A `bool`.
  case boolean(Bool)
  /// An array of `char`, up to its first zero.
  case text(String)
  /// An array.
  case array([FieldValue])
  /// The members of a structure in an array, or of a union, in order. They include the members of anonymous
  /// structures and unions.
  case structure([Member])
  /// Bytes of any other type, such as a pointer or a lock.
  case bytes([UInt8])

  /// A member of a structure.
  public struct Member: Sendable, Hashable {
    /// The C name.
    public var name: String
    /// The value.
    public var value: FieldValue
  }
}

extension FieldValue: CustomStringConvertible {
  /// The value as text: numbers in decimal, enumerations as "NAME (1)", text in quotes, bytes in
  /// hexadecimal, in the order of memory.
  public var description: String {
    switch self {
    case .signed(let number): "\(number)"
    case .unsigned(let number): "\(number)"
    case .enumeration(let name?, let number): "\(escaped(name)) (\(number))"
    case .enumeration(nil, let number): "\(number)"
    case .floatingPoint(let number): "\(number)"
    case .boolean(let value): "\(value)"
    case .text(let text): "\"\(escaped(text))\""
    case .array(let elements): "[\(elements.map(\.description).joined(separator: ", "))]"
    case .structure(let members):
      "{\(members.map { "\($0.name): \($0.value)" }.joined(separator: ", "))}"
    case .bytes(let bytes):
      bytes.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined(separator: " ")
    }
  }

  /// Escapes for terminals: control characters, and those that change the direction of text.
  private func escaped(_ text: String) -> String {
    text.unicodeScalars.map { scalar in
      switch scalar {
      case "\"": "\\\""
      case "\\": "\\\\"
      case _ where scalar.properties.generalCategory == .control || scalar.properties.isBidiControl:
        scalar.escaped(asASCII: true)
      default: String(scalar)
      }
    }.joined()
  }
}

extension Enumerator {
  /// The constant.
  func number(signed: Bool) -> FieldValue {
    signed ? .signed(Int64(bitPattern: bits)) : .unsigned(bits)
  }
}

extension FieldType {
  /// Reads a field of this type. Bytes that are missing read as zero.
  func value(in bytes: [UInt8], at offset: Int) -> FieldValue {
    switch self {
    case .integer(let size, let signed):
      let bits = unsignedBits(bytes, offset, size)
      guard signed, size < 8 else {
        return signed ? .signed(Int64(bitPattern: bits)) : .unsigned(bits)
      }
      let shift = 64 - size * 8
      return .signed(Int64(bitPattern: bits << shift) >> shift)
    case .enumeration(_, let size, let signed, let enumerators):
      let number = FieldType.integer(size: size, signed: signed).value(in: bytes, at: offset)
      let name = enumerators.first { $0.number(signed: signed) == number }?.name
      return .enumeration(name: name, number: number)
    case .character: return .signed(Int64(Int8(bitPattern: UInt8(unsignedBits(bytes, offset, 1)))))
    case .boolean: return .boolean(unsignedBits(bytes, offset, 1) != 0)
    case .floatingPoint(4):
      return .floatingPoint(
        Double(Float(bitPattern: UInt32(truncatingIfNeeded: unsignedBits(bytes, offset, 4))))
      )
    case .floatingPoint(8):
      return .floatingPoint(Double(bitPattern: unsignedBits(bytes, offset, 8)))
    case .array(of: .character, let count):
      return .text(String(decoding: slice(bytes, offset, count).prefix { $0 != 0 }, as: UTF8.self))
    case .array(let element, let count):
      // An array of zero-sized elements may have any count.
      guard element.size > 0 else { return .array([]) }
      return .array(
        (0..<count).map { element.value(in: bytes, at: offset + $0 * element.size) }
      )
    case .structure(let layout), .union(let layout):
      return .structure(layout.members.flatMap { $0.values(in: bytes, at: offset) })
    case .bitField(let bit, let width):
      var bits = unsignedBits(bytes, offset, 8) >> UInt64(bit)
      if bit + width > 64 { bits |= unsignedBits(bytes, offset + 8, 1) << UInt64(64 - bit) }
      return .unsigned(width < 64 ? bits & ((1 << UInt64(width)) - 1) : bits)
    case .floatingPoint, .opaque, .unsupported:
      return .bytes(Array(slice(bytes, offset, size)))
    }
  }

  private func slice(_ bytes: [UInt8], _ offset: Int, _ count: Int) -> ArraySlice<UInt8> {
    let start = min(offset, bytes.count)
    return bytes[start..<min(start + count, bytes.count)]
  }

  private func unsignedBits(_ bytes: [UInt8], _ offset: Int, _ size: Int) -> UInt64 {
    UInt64(memoryBytes: slice(bytes, offset, min(size, 8)))
  }
}

extension CompositeLayout.Member {
  /// Reads the member, or the members of an anonymous structure or union.
  fileprivate func values(in bytes: [UInt8], at start: Int) -> [FieldValue.Member] {
    let value = type.value(in: bytes, at: start + offset)
    if name.isEmpty, case .structure(let members) = value { return members }
    return [.init(name: name, value: value)]
  }
}
