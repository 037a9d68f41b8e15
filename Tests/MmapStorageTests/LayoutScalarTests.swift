// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import Testing

@Suite struct LayoutScalarTests {
  @Test func scalarsAreValuesOnTheirOwn() throws {
    #expect(try UInt64.fieldType() == .u64)
    #expect(try Int8.fieldType() == .s8)
    #expect(try Int.fieldType() == .s64)
    #expect(try Bool.fieldType() == .boolean)
    #expect(try Float.fieldType() == .f32)
    #expect(try Double.fieldType() == .f64)
    #expect(differences(try UInt64.fieldType(), .u64).isEmpty)
    #expect(differences(try UInt64.fieldType(), .s64) == ["whole: sign"])
    #expect(
      differences(try UInt64.fieldType(), .structure("one", 8, [member("a", 0, .u64)]))
        == ["whole: kind"]
    )
  }

  @Test func wrappersHaveTheLayoutOfTheirRawValue() throws {
    #expect(try LayoutExamples.Phase.fieldType() == .u32)
    #expect(try LayoutExamples.Mask.fieldType() == .u16)
    #expect(try test_color.fieldType() == .u32)
  }

  @Test func arraysNest() throws {
    #expect(try InlineArray<4, UInt16>.fieldType() == .array(.u16, 4))
    #expect(try InlineArray<2, InlineArray<3, Bool>>.fieldType() == .array(.array(.boolean, 3), 2))
    #expect(
      try InlineArray<2, test_plain>.fieldType() == .array(try test_plain.fieldType(), 2)
    )
  }

  @Test func everyScalarHasItsBytes() {
    let point = FieldType.structure("point", 8, [member("x", 0, .u8), member("y", 4, .u32)])
    let type = FieldType.structure(
      "all",
      64,
      [
        member("a", 0, .u8), member("b", 4, .array(.u16, 2)), member("p", 8, .array(point, 2)),
        member("", 24, .union(8, [member("n", 0, .u64), member("w", 0, .array(.u32, 2))])),
        member("lock", 32, .unsupported(name: "lock", size: 4, advice: "")),
        member("raw", 36, .opaque(size: 12)), member("c", 48, .character),
      ]
    )
    #expect(
      scalarRanges(of: type) == [
        0..<1, 4..<6, 6..<8, 8..<9, 12..<16, 16..<17, 20..<24, 24..<32, 36..<48, 48..<49,
      ]
    )
    #expect(scalarRanges(of: .u64) == [0..<8])
    // Found by fuzzing: four billion zero-sized elements took as many steps.
    #expect(scalarRanges(of: .array(.structure("empty", 0, []), 1 << 32)) == [])
  }
}
