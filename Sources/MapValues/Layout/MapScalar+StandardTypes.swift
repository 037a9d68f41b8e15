// SPDX-License-Identifier: Apache-2.0
/// A scalar of the standard library. Other scalars wrap one of these.
protocol StandardScalar: MapScalar {
  static var scalarType: FieldType { get }
}

extension StandardScalar where Self: FixedWidthInteger {
  static var scalarType: FieldType { .integer(size: MemoryLayout<Self>.size, signed: isSigned) }
}

extension UInt8: MapScalar, StandardScalar {}
extension Int8: MapScalar, StandardScalar {}
extension UInt16: MapScalar, StandardScalar {}
extension Int16: MapScalar, StandardScalar {}
extension UInt32: MapScalar, StandardScalar {}
extension Int32: MapScalar, StandardScalar {}
extension UInt64: MapScalar, StandardScalar {}
extension Int64: MapScalar, StandardScalar {}
extension UInt: MapScalar, StandardScalar {}
extension Int: MapScalar, StandardScalar {}

extension Float: MapScalar, StandardScalar {
  static var scalarType: FieldType { .floatingPoint(size: 4) }
}

extension Double: MapScalar, StandardScalar {
  static var scalarType: FieldType { .floatingPoint(size: 8) }
}

extension Bool: MapScalar, StandardScalar {
  static var scalarType: FieldType { .boolean }
}
