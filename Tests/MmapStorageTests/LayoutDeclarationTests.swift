// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import Synchronization
import Testing

@Suite struct LayoutDeclarationTests {
  struct Header {
    var kind: UInt16
    var length: UInt16
  }

  struct Sample: MapValue {
    var id: UInt64
    var header: Header
    var reserved: UInt32
    var cells: (UInt16, UInt16, UInt16, UInt16)
    var words: InlineArray<2, UInt32>
    var blob: (UInt64, UInt8)

    static var fields: Fields<Self> {
      Field("sample_id", \.id)
      Field("header.kind", \.header.kind)
      Field("header.len", \.header.length)
      Field.padding(\.reserved)
      Field("cells", \.cells, arrayOf: UInt16.self, count: 4)
      Field("w", \.words)
      Field.opaque("blob", \.blob)
    }
  }

  @Test func describesWhatIsDeclared() throws {
    #expect(
      try Sample.fieldType()
        == .structure(
          "Sample",
          48,
          [
            member("sample_id", 0, .u64), member("header.kind", 8, .u16),
            member("header.len", 10, .u16), member("cells", 16, .array(.u16, 4)),
            member("w", 24, .array(.u32, 2)), member("blob", 32, .opaque(size: 9)),
          ]
        )
    )
  }

  @Test func comparesDottedNamesWithNestedStructures() throws {
    let header = FieldType.structure("hdr", 4, [member("kind", 0, .u16), member("len", 2, .u16)])
    let blob = FieldType.structure("blob", 9, [member("x", 0, .array(.u8, 9))])
    func map(_ header: FieldType, named name: String = "header") -> FieldType {
      .structure(
        "sample",
        48,
        [
          member("sample_id", 0, .u64), member(name, 8, header),
          member("cells", 16, .array(.u16, 4)), member("w", 24, .array(.u32, 2)),
          member("blob", 32, blob),
        ]
      )
    }
    #expect(differences(try Sample.fieldType(), map(header)).isEmpty)
    let swapped = FieldType.structure("hdr", 4, [member("len", 0, .u16), member("kind", 2, .u16)])
    #expect(
      differences(try Sample.fieldType(), map(swapped))
        == ["header.len: offset", "header.kind: offset"]
    )
    let larger = FieldType.structure(
      "hdr",
      6,
      [member("kind", 0, .u16), member("len", 2, .u16), member("more", 4, .u16)]
    )
    #expect(differences(try Sample.fieldType(), map(larger)) == ["header.more: missing"])
    #expect(differences(try Sample.fieldType(), map(header, named: "head")) == ["header: name"])
  }

  @Test func describesMembersOfUnions() throws {
    let point = FieldType.structure("test_point", 8, [member("x", 0, .s32), member("y", 4, .s32)])
    #expect(
      try test_choice.fieldType()
        == .structure(
          "test_choice",
          24,
          [
            member("head", 0, .u32), member("number", 4, .u32), member("ratio", 4, .f32),
            member("bytes", 4, .array(.u8, 4)), member("key.point", 8, point),
          ]
        )
    )
    let map = FieldType.structure(
      "test_choice",
      24,
      [
        member("head", 0, .u32),
        member(
          "",
          4,
          .union(
            4,
            [
              member("number", 0, .u32), member("ratio", 0, .f32),
              member("bytes", 0, .array(.u8, 4)),
            ]
          )
        ),
        member("key", 8, .union(8, [member("id", 0, .u64), member("point", 0, point)])),
      ]
    )
    #expect(differences(try test_choice.fieldType(), map).isEmpty)
  }

  private struct Undeclared: MapValue {
    var a: UInt32
    var hidden: UInt32
    var b: UInt64
    static var fields: Fields<Self> {
      Field("a", \.a)
      Field("b", \.b)
    }
  }
  private struct PartlyUndeclared: MapValue {
    var header: Header
    static var fields: Fields<Self> { Field("header.kind", \.header.kind) }
  }
  private struct UndeclaredAtTheEnd: MapValue {
    var a: UInt32
    var b: UInt8
    static var fields: Fields<Self> { Field("a", \.a) }
  }
  private struct Twice: MapValue {
    var a: UInt32
    var b: UInt32
    static var fields: Fields<Self> {
      Field("a", \.a)
      Field("a", \.b)
    }
  }
  private struct Computed: MapValue {
    var a: UInt32
    var c: UInt32 { a }
    static var fields: Fields<Self> { Field("c", \.c) }
  }
  private struct BadName: MapValue {
    var a: UInt32
    static var fields: Fields<Self> { Field("a..b", \.a) }
  }
  private struct WrongCount: MapValue {
    var a: (UInt16, UInt16)
    static var fields: Fields<Self> { Field("a", \.a, arrayOf: UInt16.self, count: 3) }
  }
  private struct HidesAReference: MapValue {
    var a: String
    static var fields: Fields<Self> { Field.opaque("a", \.a) }
  }
  private struct Empty: MapValue {
    var a: UInt32
    static var fields: Fields<Self> {}
  }

  @Test(arguments: [
    (Undeclared.self as any MapField.Type, "byte 4, which belongs to the property 'hidden'"),
    (PartlyUndeclared.self, "byte 2, which belongs to the property 'header.length'"),
    (UndeclaredAtTheEnd.self, "byte 4, which belongs to the property 'b'"),
    (Twice.self, "declared twice"), (Computed.self, "computed"),
    (BadName.self, "not the name of a C field"), (WrongCount.self, "correct the count"),
    (HidesAReference.self, "references"), (Empty.self, "byte 0, which belongs to the property 'a'"),
  ])
  func refusesAnIncompleteOrWrongDeclaration(_ type: any MapField.Type, _ reason: String) throws {
    let error = try #require(throws: BPFError.self) { try type.fieldType() }
    #expect(error.kind == .layoutUndescribed)
    #expect("\(error)".contains(reason), "\(error)")
  }

  /// The bit-fields are in bytes that look like alignment padding; the map's type information shows
  /// them.
  @Test func comparesAStructureWithBitFields() throws {
    let bitField = FieldType.unsupported(name: "bit-field", size: 4, advice: "use whole bytes")
    let map = FieldType.structure(
      "test_bits",
      16,
      [
        member("head", 0, .u32), member("low", 4, bitField), member("high", 4, bitField),
        member("end", 8, .u64),
      ]
    )
    #expect(
      differences(try test_bits.fieldType(), map) == ["low: missing", "high: missing"]
    )
    #expect(
      compare(try test_bits.fieldType(), map).mismatches.map(\.hint)
        == ["low", "high"].map {
          "'\($0)' is a bit-field in the map, and is not in Swift: use whole bytes"
        }
    )
  }

  @Test func mayFallBackToReflection() throws {
    struct Both: MapValue {
      var a: UInt32
      static var fields: Fields<Self> { return .reflected }
    }
    #expect(try Both.fieldType() == .structure("Both", 4, [member("a", 0, .u32)]))
  }

  @Test func holesOfNestedStructuresNeedNoDeclaration() throws {
    struct Padded: MapValue {
      var tail: test_tail
      var end: UInt8
      static var fields: Fields<Self> {
        Field("tail.whole", \.tail.whole)
        Field("tail.part", \.tail.part)
        Field("end", \.end)
      }
    }
    guard case .structure(let layout) = try Padded.fieldType() else {
      Issue.record("not a structure")
      return
    }
    #expect(layout.members.map(\.offset) == [0, 8, 16])
  }

  @Test func theWholeValueIsNoField() throws {
    struct Own: MapValue {
      var a: UInt32
      static var fields: Fields<Self> { Field("a", \.self) }
    }
    let error = try #require(throws: BPFError.self) { try Own.fieldType() }
    #expect(error.kind == .layoutUndescribed)
    #expect(error.advice.contains("whole value"))
  }

  /// The advice in the error for unexplained padding is correct.
  @Test func paddingOfAnImportedStructureIsDeclaredByItsBytes() throws {
    let error = try #require(throws: BPFError.self) { try test_aligned_undeclared.fieldType() }
    #expect(error.advice.contains("Field.padding(bytes: 4..<16)"), "\(error)")
    let type = try test_aligned.fieldType()
    let map = FieldType.structure(
      "test_aligned",
      32,
      [member("a", 0, .u32), member("b", 16, .u32)]
    )
    #expect(differences(type, map) == [])
    let used = FieldType.structure(
      "test_aligned",
      32,
      [member("a", 0, .u32), member("low", 4, .u32), member("b", 16, .u32)]
    )
    #expect(differences(type, used) == ["low: missing"])
  }

  @Test(arguments: [-1..<2, 30..<40, 4..<4])
  func paddingIsInsideOfTheValue(_ bytes: Range<Int>) throws {
    PaddedElsewhere.bytes.withLock { $0 = bytes }
    #expect(throws: BPFError.self) { try PaddedElsewhere.fieldType() }
  }

  struct PaddedElsewhere: MapValue {
    static let bytes = Mutex(0..<1)
    var a: UInt64
    static var fields: Fields<Self> {
      Field("a", \.a)
      Field.padding(bytes: bytes.withLock { $0 })
    }
  }

  enum State: UInt8, Sendable { case idle, busy }

  struct OpaqueEnum: MapValue {
    var state: State
    static var fields: Fields<Self> { Field.opaque("state", \.state) }
  }

  struct OpaqueReference: MapValue, @unchecked Sendable {
    unowned(unsafe) var object: AnyObject
    static var fields: Fields<Self> { Field.opaque("object", \.object) }
  }

  struct PlainReference: MapValue, @unchecked Sendable {
    unowned(unsafe) var object: AnyObject
    static var fields: Fields<Self> { return .reflected }
  }

  struct ArrayOfEnums: MapValue {
    var states: (State, State)
    static var fields: Fields<Self> { Field("states", \.states, arrayOf: UInt8.self, count: 2) }
  }

  /// A program may store bytes that are invalid values of these types.
  @Test(
    arguments: [
      OpaqueEnum.self, OpaqueReference.self, PlainReference.self, ArrayOfEnums.self,
    ] as [any MapField.Type]
  )
  func refusesTypesThatAreNotValidForAllBytes(_ type: any MapField.Type) {
    let error = #expect(throws: BPFError.self) { try type.fieldType() }
    #expect(error?.kind == .layoutUndescribed)
  }

  @Test func opaqueBooleansAreKnown() throws {
    struct Inner {
      var a: UInt16
      var on: Bool
    }
    struct Outer: MapValue {
      var id: UInt32
      var inner: (Inner, Inner)
      static var fields: Fields<Self> {
        Field("id", \.id)
        Field.opaque("inner", \.inner)
      }
    }
    #expect(booleanOffsets(of: try Outer.fieldType()) == [6, 10])
  }
}
