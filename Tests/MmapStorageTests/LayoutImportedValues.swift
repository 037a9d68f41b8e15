// SPDX-License-Identifier: Apache-2.0
public import CTestValues
public import MmapStorage

extension test_color: MapScalar {}
extension test_plain: MapValue {}
extension test_rich: MapValue {}
extension test_anonymous: MapValue {}
extension test_packed: MapValue {}
extension test_packed_elements: MapValue {}
extension test_page: MapValue {}

extension test_choice: MapValue {
  /// With every alternative of the anonymous union, and one of the named one.
  public static var fields: Fields<Self> {
    Field("head", \.head)
    Field("number", \.number)
    Field("ratio", \.ratio)
    Field("bytes", \.bytes, arrayOf: UInt8.self, count: 4)
    Field("key.point", \.key.point)
  }
}

extension test_switch: MapValue {
  /// With one alternative of the union.
  public static var fields: Fields<Self> {
    Field("head", \.head)
    Field("on", \.on)
  }
}

extension test_bits: MapValue {
  /// Without the bit-fields, which have no whole bytes.
  public static var fields: Fields<Self> {
    Field("head", \.head)
    Field("end", \.end)
  }
}

extension test_aligned_undeclared: MapValue {
  /// Read by reflection, which finds too few fields.
  public static var fields: Fields<Self> { return .reflected }
}
extension test_dimensions: MapValue {}

extension test_aligned: MapValue {
  /// With the padding for the alignment of `b`.
  public static var fields: Fields<Self> {
    Field("a", \.a)
    Field.padding(bytes: 4..<16)
    Field("b", \.b)
  }
}
