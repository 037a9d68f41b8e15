// SPDX-License-Identifier: Apache-2.0
/// A scalar of the standard library. Other scalars wrap one of these.
protocol StandardScalar: MapScalar {
  static var scalarType: FieldType { get }
}

extension StandardScalar where Self: FixedWidthInteger {
  static var scalarType: FieldType { .integer(size: MemoryLayout<Self>.size, signed: isSigned) }
}

extension UInt8: StandardScalar {}
extension Int8: StandardScalar {}
extension UInt16: StandardScalar {}
extension Int16: StandardScalar {}
extension UInt32: StandardScalar {}
extension Int32: StandardScalar {}
extension UInt64: StandardScalar {}
extension Int64: StandardScalar {}
extension UInt: StandardScalar {}
extension Int: StandardScalar {}

extension Float: StandardScalar {
  static var scalarType: FieldType { .floatingPoint(size: 4) }
}

extension Double: StandardScalar {
  static var scalarType: FieldType { .floatingPoint(size: 8) }
}

extension Bool: StandardScalar {
  static var scalarType: FieldType { .boolean }
}

// Integers are scalars by the extension below.
extension UInt8: MapScalar {}
extension Int8: MapScalar {}
extension UInt16: MapScalar {}
extension Int16: MapScalar {}
extension UInt32: MapScalar {}
extension Int32: MapScalar {}
extension UInt64: MapScalar {}
extension Int64: MapScalar {}
extension UInt: MapScalar {}
extension Int: MapScalar {}

extension MapScalar where Self: FixedWidthInteger {
  /// The number with these bits, in two's complement.
  @inlinable @inline(__always)
  public init(mapBits: Magnitude) { self.init(truncatingIfNeeded: mapBits) }

  /// The bits of the number in two's complement.
  @inlinable @inline(__always)
  public var mapBits: Magnitude { Magnitude(truncatingIfNeeded: self) }
}

extension Float: MapScalar {
  /// The number with this IEEE bit pattern.
  @inlinable @inline(__always)
  public init(mapBits: UInt32) { self.init(bitPattern: mapBits) }

  /// The IEEE bit pattern.
  @inlinable @inline(__always)
  public var mapBits: UInt32 { bitPattern }
}

extension Double: MapScalar {
  /// The number with this IEEE bit pattern.
  @inlinable @inline(__always)
  public init(mapBits: UInt64) { self.init(bitPattern: mapBits) }

  /// The IEEE bit pattern.
  @inlinable @inline(__always)
  public var mapBits: UInt64 { bitPattern }
}

extension Bool: MapScalar {
  /// False for 0, true for every other byte, as in C.
  @inlinable @inline(__always)
  public init(mapBits: UInt8) { self = mapBits != 0 }

  /// 1 for true, 0 for false.
  @inlinable @inline(__always)
  public var mapBits: UInt8 { self ? 1 : 0 }
}
