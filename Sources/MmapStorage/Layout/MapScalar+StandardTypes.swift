public import LibBPF

extension MapScalar where Self: FixedWidthInteger {
  /// A whole number of this width and sign.
  public static func fieldType() throws(BPFError) -> FieldType {
    .integer(size: MemoryLayout<Self>.size, signed: isSigned)
  }
}

extension UInt8: MapScalar {
  /// The number itself.
  @inlinable @inline(__always)
  public init(mapBits: UInt8) { self = mapBits }

  /// The number itself.
  @inlinable @inline(__always)
  public var mapBits: UInt8 { self }
}

extension Int8: MapScalar {
  /// The number in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: UInt8) { self.init(bitPattern: mapBits) }

  /// The number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: UInt8 { UInt8(bitPattern: self) }
}

extension UInt16: MapScalar {
  /// The number itself.
  @inlinable @inline(__always)
  public init(mapBits: UInt16) { self = mapBits }

  /// The number itself.
  @inlinable @inline(__always)
  public var mapBits: UInt16 { self }
}

extension Int16: MapScalar {
  /// The number in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: UInt16) { self.init(bitPattern: mapBits) }

  /// The number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: UInt16 { UInt16(bitPattern: self) }
}

extension UInt32: MapScalar {
  /// The number itself.
  @inlinable @inline(__always)
  public init(mapBits: UInt32) { self = mapBits }

  /// The number itself.
  @inlinable @inline(__always)
  public var mapBits: UInt32 { self }
}

extension Int32: MapScalar {
  /// The number in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: UInt32) { self.init(bitPattern: mapBits) }

  /// The number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: UInt32 { UInt32(bitPattern: self) }
}

extension UInt64: MapScalar {
  /// The number itself.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self = mapBits }

  /// The number itself.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { self }
}

extension Int64: MapScalar {
  /// The number in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self.init(bitPattern: mapBits) }

  /// The number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { UInt64(bitPattern: self) }
}

extension Float: MapScalar {
  /// A floating-point number of 4 bytes.
  public static func fieldType() throws(BPFError) -> FieldType { .floatingPoint(size: 4) }

  /// The number with this IEEE bit pattern.
  @inlinable @inline(__always)
  public init(mapBits: UInt32) { self.init(bitPattern: mapBits) }

  /// The IEEE bit pattern.
  @inlinable @inline(__always)
  public var mapBits: UInt32 { bitPattern }
}

extension Double: MapScalar {
  /// A floating-point number of 8 bytes.
  public static func fieldType() throws(BPFError) -> FieldType { .floatingPoint(size: 8) }

  /// The number with this IEEE bit pattern.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self.init(bitPattern: mapBits) }

  /// The IEEE bit pattern.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { bitPattern }
}

extension Bool: MapScalar {
  /// C's `bool`.
  public static func fieldType() throws(BPFError) -> FieldType { .boolean }

  /// False for 0, true for every other byte, as in C.
  @inlinable @inline(__always)
  public init(mapBits: UInt8) { self = mapBits != 0 }

  /// 1 for true, 0 for false.
  @inlinable @inline(__always)
  public var mapBits: UInt8 { self ? 1 : 0 }
}

extension MapScalar where Self: RawRepresentable, RawValue: MapScalar {
  /// The wrapped type's.
  public static func fieldType() throws(BPFError) -> FieldType {
    guard _isPOD(Self.self), MemoryLayout<Self>.size == MemoryLayout<RawValue>.size,
      !isSwiftEnum(Self.self)
    else {
      throw BPFError(
        .layoutUndescribed,
        attempt: "describe a field",
        on: "type \(Self.self)",
        advice: "it does not store its raw value as it is (a Swift enum does not); use a structure "
          + "with the single stored property 'var rawValue: \(RawValue.self)'"
      )
    }
    return try RawValue.fieldType()
  }

  /// The value with these bits, known to Swift or not.
  @inlinable @inline(__always)
  public init(mapBits: RawValue.Bits) {
    self = withUnsafeBytes(of: mapBits) { $0.load(as: Self.self) }
  }

  /// The raw value's bits.
  @inlinable @inline(__always)
  public var mapBits: RawValue.Bits { rawValue.mapBits }
}

/// Whether the type is an `enum` to Swift, whose memory holds a case number and not a raw value.
private func isSwiftEnum<T>(_ type: T.Type) -> Bool {
  displayStyle(of: type) == .enum
}

extension UInt: MapScalar {
  /// The number itself.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self.init(truncatingIfNeeded: mapBits) }

  /// The number itself.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { UInt64(self) }
}

extension Int: MapScalar {
  /// The number in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self.init(truncatingIfNeeded: mapBits) }

  /// The number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { UInt64(bitPattern: Int64(self)) }
}
