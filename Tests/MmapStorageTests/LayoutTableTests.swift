// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import Testing

@Suite struct LayoutTableTests {
  static let map = FieldType.structure(
    "request_tag",
    32,
    [
      member("request_id", 0, .u64), member("deadline", 8, .u64), member("priority", 16, .s32),
      member("flags", 20, .u32), member("name", 24, .array(.character, 4)),
      member("dropped", 28, .u32),
    ]
  )

  @Test func showsBothSidesAndWhatToChange() throws {
    struct RequestTag: MapValue {
      var requestID: UInt64
      var priority: UInt32
      var deadLine: UInt64
      var flags: UInt32
      var name: InlineArray<2, Int8>
    }
    let comparison = try LayoutComparison(
      of: RequestTag.self,
      map: Self.map,
      mapName: "request_tags"
    )
    #expect(
      comparison.table == """
           Swift type RequestTag                      |  map request_tags: struct request_tag
           field         offset   size   type         |  field         offset   size   type
          --------------------------------------------+----------------------------------------
           requestID          0      8   UInt64       |  request_id         0      8   u64
        ! >deadLine<        >16<     8   UInt64       | >deadline<         >8<     8   u64
        !  priority          >8<     4  >UInt32<      |  priority         >16<     4  >s32<
        !  flags            >24<     4   UInt32       |  flags            >20<     4   u32
        !  name             >28<    >2< >[2 of Int8]< |  name             >24<    >4< >char[4]<
        ! >(missing)<                                 | >dropped<          28      4   u32
           whole value              32                |  whole value              32

        - 'deadLine' is 'deadline' in the map: rename it, or declare Field("deadline", \
        \\.deadLine); and is at byte 16 in Swift and at byte 8 in the map: the fields are in \
        another order
        - 'priority' is at byte 8 in Swift and at byte 16 in the map: the fields are in another \
        order; and is UInt32 (4 bytes) in Swift and s32 (4 bytes) in the map: make it Int32
        - 'flags' is at byte 24 in Swift and at byte 20 in the map: see the differences above it
        - 'name' is at byte 28 in Swift and at byte 24 in the map: see the differences above \
        it; and is [2 of Int8] (2 bytes) in Swift and char[4] (4 bytes) in the map: make it [4 \
        of CChar]
        - 'dropped' (u32, bytes 28 to 31) is not in Swift: add it as UInt32
        """
    )
  }

  @Test func marksNothingWhereBothSidesMatch() throws {
    let comparison = try LayoutComparison(
      of: LayoutExamples.RequestTag.self,
      map: .structure(
        "request_tag",
        32,
        [
          member("request_id", 0, .u64), member("deadline", 8, .u64), member("priority", 16, .u32),
          member("flags", 20, .u32), member("later", 24, .u64),
        ]
      ),
      mapName: "tags",
      policy: .compatible
    )
    #expect(comparison.isMatch)
    #expect(
      comparison.description == """
           Swift type RequestTag                 |  map tags: struct request_tag
           field         offset   size   type    |  field         offset   size   type
          ---------------------------------------+-------------------------------------
           requestID          0      8   UInt64  |  request_id         0      8   u64
           deadline           8      8   UInt64  |  deadline           8      8   u64
           priority          16      4   UInt32  |  priority          16      4   u32
           flags             20      4   UInt32  |  flags             20      4   u32
           (not used)                            |  later             24      8   u64
           whole value              24           |  whole value              32
        """
    )
  }

  @Test func aScalarIsOneRow() {
    #expect(
      compare(.u64, .s64).table == """
           Swift type RequestTag           |  map request_tags: s64
           field   offset   size   type    |  field   offset   size   type
          ---------------------------------+-------------------------------
        !  value        0      8  >UInt64< |  value        0      8  >s64<

        - the value is UInt64 (8 bytes) in Swift and s64 (8 bytes) in the map: make it Int64
        """
    )
  }

  @Test(arguments: [
    (
      "swapped", FieldType.structure(8, [member("a", 0, .u32), member("b", 4, .u32)]),
      FieldType.structure(8, [member("b", 0, .u32), member("a", 4, .u32)]),
      "'a' is at byte 0 in Swift and at byte 4 in the map: the fields are in another order"
    ),
    (
      "a hole in C", .structure(8, [member("a", 0, .u8), member("b", 1, .u8)]),
      .structure(8, [member("a", 0, .u8), member("b", 4, .u8)]),
      "'b' is at byte 1 in Swift and at byte 4 in the map: C has padding before it; fill it with a "
        + "property declared with Field.padding"
    ),
    (
      "a hole in C before an array, whose elements count for themselves",
      .structure(
        8,
        [
          member("a", 0, .u8),
          member(
            "p",
            2,
            .array(.structure(4, [member("x", 0, .u8), member("y", 3, .u8)]), 1)
          ),
        ]
      ),
      .structure(
        8,
        [
          member("a", 0, .u8),
          member(
            "p",
            4,
            .array(.structure(4, [member("x", 0, .u8), member("y", 3, .u8)]), 1)
          ),
        ]
      ),
      "'p' is at byte 2 in Swift and at byte 4 in the map: C has padding before it; fill it with a "
        + "property declared with Field.padding"
    ),
    (
      "packed", .structure(8, [member("a", 0, .u8), member("b", 4, .u32)]),
      .structure(8, [member("a", 0, .u8), member("b", 1, .u32)]),
      "'b' is at byte 4 in Swift and at byte 1 in the map: Swift has bytes before it that C does "
        + "not have, as in a packed C structure"
    ),
    (
      "follows", .structure(12, [member("a", 0, .u32), member("b", 4, .u32)]),
      .structure(12, [member("a", 0, .u64), member("b", 8, .u32)]),
      "'b' is at byte 4 in Swift and at byte 8 in the map: see the differences above it"
    ),
    (
      "tail padding",
      .structure(
        24,
        [
          member("t", 0, .structure("Tail", 16, [member("w", 0, .u64), member("p", 8, .u32)])),
          member("n", 12, .structure(1, [member("b", 0, .u8)])),
        ]
      ),
      .structure(
        24,
        [
          member("t", 0, .structure("tail", 16, [member("w", 0, .u64), member("p", 8, .u32)])),
          member("n", 16, .structure(1, [member("b", 0, .u8)])),
        ]
      ),
      "'n.b' is at byte 12 in Swift and at byte 16 in the map: Swift puts it into the padding at "
        + "the end of 't'; end Tail with a property that fills the padding, declared with Field.padding"
    ),
    (
      "length", .structure(16, [member("a", 0, .array(.s8, 8))]),
      .structure(16, [member("a", 0, .array(.character, 16))]),
      "'a' is [8 of Int8] (8 bytes) in Swift and char[16] (16 bytes) in the map: make it "
        + "[16 of CChar]"
    ),
    (
      "union", .structure(8, [member("u", 0, .u64)]),
      .structure(8, [member("u", 0, .union(8, [member("a", 0, .u64)]))]),
      "'u' is UInt64 (8 bytes) in Swift and union (8 bytes) in the map: declare one alternative, as "
        + "in Field(\"u.NAME\", \\.property)"
    ),
    (
      "name", .structure(8, [member("due", 0, .u64)]),
      .structure(8, [member("deadline", 0, .u64)]),
      "'due' is 'deadline' in the map: rename it, or declare Field(\"deadline\", \\.due)"
    ),
    (
      "unsupported", .structure(8, [member("lock", 0, .u32)]),
      .structure(
        8,
        [member("lock", 0, .unsupported(name: "spin lock", size: 4, advice: "keep it apart"))]
      ),
      "'lock' is a spin lock in the map: keep it apart"
    ),
    (
      "structure that is unsupported", .structure(8, [member("t", 0, .u64)]),
      .structure(
        8,
        [member("t", 0, .unsupported(name: "struct bpf_timer", size: 8, advice: "keep it apart"))]
      ),
      "'t' has the type 'struct bpf_timer' in the map: keep it apart"
    ),
    (
      "opaque of another size", .structure(16, [member("last", 0, .opaque(size: 11))]),
      .structure(16, [member("last", 0, .structure("s", 12, [member("x", 0, .u32)]))]),
      "'last' is declared opaque with 11 bytes, and is struct s with 12 bytes in the map: give the "
        + "property 12 bytes"
    ),
    (
      "padding at the end", .structure(4, [member("a", 0, .u32)]),
      .structure(8, [member("a", 0, .u32)]),
      "the value has 4 bytes in Swift and 8 in the map, although all fields match: one side "
        + "has more padding at its end"
    ),
  ])
  func hintsAtTheLineToChange(
    _ what: String,
    _ swift: FieldType,
    _ map: FieldType,
    _ hint: String
  ) {
    #expect(compare(swift, map).rows.map(\.hint).contains(hint), "\(compare(swift, map).table)")
  }
}
