// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import Testing

private struct NotConforming {
  var a: UInt16
  var b: InlineArray<3, UInt8>
}

private struct Everything: MapValue {
  var small: UInt8
  var gap: UInt32
  var signed: Int16
  var on: Bool
  var ratio: Float
  var mean: Double
  var phase: LayoutExamples.Phase
  var mask: LayoutExamples.Mask
  var color: test_color
  var grid: InlineArray<2, InlineArray<3, UInt16>>
  var pair: (Int32, Int32)
  var nested: NotConforming
  var points: InlineArray<2, test_point>
  var int: Int
  private var hidden: UInt8

  init() {
    self = withUnsafeTemporaryAllocation(of: Everything.self, capacity: 1) { $0[0] }
  }
}

private struct TailFirst: MapValue {
  struct Tail {
    var whole: UInt64
    var part: UInt32
  }
  var tail: Tail
  var after: UInt8
}

@Suite struct LayoutReflectionTests {
  @Test func readsAStructureWithoutADeclaration() throws {
    #expect(
      try LayoutExamples.RequestTag.fieldType()
        == .structure(
          "RequestTag",
          24,
          [
            member("requestID", 0, .u64), member("deadline", 8, .u64),
            member("priority", 16, .u32), member("flags", 20, .u32),
          ]
        )
    )
  }

  @Test func readsEveryKindOfField() throws {
    guard case .structure(let layout) = try Everything.fieldType() else {
      Issue.record("not a structure")
      return
    }
    let nested = FieldType.structure(
      "NotConforming",
      6,
      [member("a", 0, .u16), member("b", 2, .array(.u8, 3))]
    )
    let point = FieldType.structure("test_point", 8, [member("x", 0, .s32), member("y", 4, .s32)])
    let expected: [CompositeLayout.Member] = [
      member("small", 0, .u8), member("gap", 4, .u32), member("signed", 8, .s16),
      member("on", 10, .boolean), member("ratio", 12, .f32), member("mean", 16, .f64),
      member("phase", 24, .u32), member("mask", 28, .u16), member("color", 32, .u32),
      member("grid", 36, .array(.array(.u16, 3), 2)), member("pair", 48, .array(.s32, 2)),
      member("nested", 56, nested), member("points", 64, .array(point, 2)),
      member("int", 80, .s64), member("hidden", 88, .u8),
    ]
    #expect(layout.members == expected)
    #expect(layout.size == 96)
  }

  @Test func seesThatSwiftFillsThePaddingOfANestedStructure() throws {
    guard case .structure(let layout) = try TailFirst.fieldType() else {
      Issue.record("not a structure")
      return
    }
    #expect(layout.members.map(\.offset) == [0, 12])
    #expect(layout.members[0].type.size == 16)
  }

  @Test func readsAnImportedStructure() throws {
    let tail = FieldType.structure(
      "test_tail",
      16,
      [member("whole", 0, .u64), member("part", 8, .u32)]
    )
    let point = FieldType.structure("test_point", 8, [member("x", 0, .s32), member("y", 4, .s32)])
    guard case .structure(let layout) = try test_rich.fieldType() else {
      Issue.record("not a structure")
      return
    }
    #expect(layout.name == "test_rich")
    #expect(layout.size == MemoryLayout<test_rich>.stride)
    let byName = Dictionary(uniqueKeysWithValues: layout.members.map { ($0.name, $0) })
    #expect(byName["tail"] == member("tail", 0, tail))
    #expect(byName["after_tail"] == member("after_tail", 16, .u8))
    #expect(byName["points"] == member("points", 24, .array(point, 3)))
    #expect(byName["grid"]?.type == .array(.array(.u16, 3), 2))
    #expect(byName["color"]?.type == .u32)
    #expect(
      byName["balance"]?.type == .structure("test_balance", 4, [member("rawValue", 0, .s32)])
    )
    #expect(byName["name"]?.type.size == 16)
    #expect(byName["on"]?.type == .boolean)
    #expect(byName["ratio"]?.type == .f32)
    #expect(byName["mean"]?.type == .f64)
    // Swift imports an array of one element as the element.
    #expect(byName["only"]?.type == .u32)
    for (name, offset) in [
      ("grid", MemoryLayout<test_rich>.offset(of: \.grid)),
      ("name", MemoryLayout<test_rich>.offset(of: \.name)),
      ("mean", MemoryLayout<test_rich>.offset(of: \.mean)),
    ] {
      #expect(byName[name]?.offset == offset)
    }
  }

  @Test func importedArraysOfOneElementAndRawValues() throws {
    let map = FieldType.structure(
      "test_dimensions",
      28,
      [
        member("flat", 0, .array(.array(.u32, 3), 1)),
        member("tall", 12, .array(.array(.u32, 1), 3)),
        member("raw", 24, .structure("test_raw", 4, [member("rawValue", 0, .u32)])),
      ]
    )
    #expect(differences(try test_dimensions.fieldType(), map) == [])
  }

  @Test func readsAPageOfBytes() throws {
    #expect(
      try test_page.fieldType()
        == .structure(
          "test_page",
          4096,
          [member("head", 0, .u64), member("bytes", 8, .array(.u8, 4088))]
        )
    )
  }

  /// Each type and each list of fields is described with these steps. They take less than a second, and more than an
  /// hour if the time grows with the square.
  @Test(.timeLimit(.minutes(1))) func manyFieldsAreCovered() {
    let count = 200_000
    func gap(without missing: Int?) -> Range<Int>? {
      var coverage = Coverage(size: 4 * count, alignment: 4)
      for index in 0..<count where index != missing {
        coverage.add(4 * index..<4 * index + 4, alignment: 4)
      }
      return coverage.firstGap()
    }
    #expect(gap(without: nil) == nil)
    #expect(gap(without: count - 2) == 4 * (count - 2)..<4 * (count - 1))
  }

  @Test func importedAndSwiftStructureMatch() throws {
    #expect(
      LayoutComparison(
        swift: try LayoutExamples.RequestTag.fieldType(),
        swiftName: "RequestTag",
        map: try test_plain.fieldType(),
        mapName: "tags"
      ).isMatch
    )
  }

  @Test func asksForADeclarationWhereReflectionMissesBytes() throws {
    let error = try #require(throws: BPFError.self) { try test_anonymous.fieldType() }
    #expect(error.kind == .layoutUndescribed)
    #expect(error.object == "type test_anonymous")
    #expect(error.advice.contains("key paths"))
  }

  @Test func refusesAScalarThatIsNotAligned() throws {
    let error = try #require(throws: BPFError.self) { try test_packed.fieldType() }
    #expect(error.object == "field 'number' of type test_packed")
    #expect(error.advice.contains("byte 1"))
    let inArray = try #require(throws: BPFError.self) { try test_packed_elements.fieldType() }
    #expect(inArray.object == "field 'items[1].number' of type test_packed_elements")
    #expect(inArray.advice.contains("byte 5"))
  }

  struct Refused: CustomTestStringConvertible {
    var type: any MapField.Type
    var object: String
    var advice: String
    var testDescription: String { "\(type)" }
  }

  private struct HasOptional: MapValue {
    var a: UInt32?
  }
  private struct HasEnum: MapValue {
    enum Plain { case one, two }
    var a: Plain
  }
  private struct HasMixedTuple: MapValue {
    var a: (UInt8, UInt32)
  }
  private struct HasPointer: MapValue, @unchecked Sendable {
    struct Inner { var pointer: UnsafeRawPointer? }
    var inner: Inner
  }
  private struct HasRange: MapValue {
    var a: Range<UInt32>
    static var fields: Fields<Self> { return .reflected }
  }
  private struct HasString: MapValue {
    var a: String
    static var fields: Fields<Self> { return .reflected }
  }
  private struct HasArrayOfStrings: MapValue {
    var a: InlineArray<2, [UInt8]>
    static var fields: Fields<Self> { Field("a", \.a) }
  }
  private struct Wide: RawRepresentable, MapScalar {
    var rawValue: UInt32
    var more: UInt32 = 0
    init(rawValue: UInt32) { self.rawValue = rawValue }
  }
  private final class Reference: RawRepresentable, MapScalar {
    let rawValue: UInt64
    init(rawValue: UInt64) { self.rawValue = rawValue }
  }

  @Test(arguments: [
    Refused(type: HasOptional.self, object: "field 'a' of type HasOptional", advice: "Swift enum"),
    Refused(type: HasEnum.self, object: "field 'a' of type HasEnum", advice: "Swift enum"),
    Refused(type: HasMixedTuple.self, object: "field 'a' of type HasMixedTuple", advice: "equal"),
    Refused(
      type: HasPointer.self,
      object: "field 'inner' of type HasPointer: field 'pointer' of type Inner",
      advice: "pointer"
    ),
    Refused(type: HasRange.self, object: "field 'a' of type HasRange", advice: "integers"),
    Refused(type: HasString.self, object: "type HasString", advice: "references"),
    Refused(type: HasArrayOfStrings.self, object: "HasArrayOfStrings", advice: "references"),
    Refused(type: LayoutExamples.SwiftEnum.self, object: "type SwiftEnum", advice: "Swift enum"),
    Refused(type: Wide.self, object: "type Wide", advice: "rawValue"),
    Refused(type: Reference.self, object: "type Reference", advice: "references"),
  ])
  func refusesTypesThatCannotBeInAMap(_ refused: Refused) throws {
    let error = try #require(throws: BPFError.self) { try refused.type.fieldType() }
    #expect(error.kind == .layoutUndescribed)
    #expect(error.object.contains(refused.object))
    #expect(error.advice.contains(refused.advice))
  }
}
