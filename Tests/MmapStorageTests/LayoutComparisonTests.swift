// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import Testing

@Suite struct LayoutComparisonTests {
  struct Case: Sendable, CustomTestStringConvertible {
    var what: String
    var swift: FieldType
    var map: FieldType
    var policy = LayoutPolicy.exact
    var expected: [String] = []
    var testDescription: String { what }
  }

  static let point = FieldType.structure("point", 8, [member("x", 0, .s32), member("y", 4, .s32)])

  /// A structure around one field, so that a case lists only the field's type.
  static func one(_ type: FieldType, _ name: String = "f", size: Int? = nil) -> FieldType {
    .structure("one", size ?? type.size, [member(name, 0, type)])
  }

  static func ab(_ a: FieldType, _ offset: Int, _ b: FieldType, _ size: Int) -> FieldType {
    .structure("ab", size, [member("a", 0, a), member("b", offset, b)])
  }

  @Test(arguments: [
    Case(what: "the same", swift: ab(.u64, 8, .u32, 16), map: ab(.u64, 8, .u32, 16)),
    Case(what: "snake case", swift: one(.u64, "requestID"), map: one(.u64, "request_id")),
    Case(what: "camel case in C", swift: one(.u64, "requestID"), map: one(.u64, "requestID")),
    Case(what: "enum", swift: one(.u32), map: one(.enumeration(name: "c", size: 4, signed: false))),
    Case(
      what: "64-bit enum",
      swift: one(.s64),
      map: one(.enumeration(name: "c", size: 8, signed: true))
    ),
    Case(what: "char and Int8", swift: one(.s8), map: one(.character)),
    Case(what: "char and UInt8", swift: one(.u8), map: one(.character)),
    Case(what: "char array", swift: one(.array(.s8, 16)), map: one(.array(.character, 16))),
    Case(what: "bool", swift: one(.boolean), map: one(.boolean)),
    Case(what: "float", swift: one(.f32), map: one(.f32)),
    Case(
      what: "arrays of arrays",
      swift: one(.array(.array(.u16, 3), 2)),
      map: one(.array(.array(.u16, 3), 2))
    ),
    Case(what: "array of one", swift: one(.u32), map: one(.array(.u32, 1))),
    Case(
      what: "dimensions of one element, as Swift imports them",
      swift: one(.array(.u32, 3)),
      map: one(.array(.array(.u32, 3), 1))
    ),
    Case(
      what: "dimensions of one element, inside and outside",
      swift: one(.array(.u32, 3)),
      map: one(.array(.array(.array(.u32, 1), 3), 1))
    ),
    Case(
      what: "one element in all dimensions",
      swift: one(.u32),
      map: one(.array(.array(.u32, 1), 1))
    ),
    Case(
      what: "a structure with the member rawValue",
      swift: one(.structure("Raw", 4, [member("rawValue", 0, .u32)])),
      map: one(.structure("raw", 4, [member("rawValue", 0, .u32)]))
    ),
    Case(
      what: "an imported enumeration",
      swift: one(.array(.structure("Color", 4, [member("rawValue", 0, .u32)]), 2)),
      map: one(.array(.enumeration(name: "color", size: 4, signed: false), 2))
    ),
    Case(what: "array of one structure", swift: one(point), map: one(.array(point, 1))),
    Case(what: "arrays of structures", swift: one(.array(point, 4)), map: one(.array(point, 4))),
    Case(
      what: "another tag",
      swift: one(.structure("Point", 8, [member("x", 0, .s32), member("y", 4, .s32)])),
      map: one(point)
    ),
    Case(
      what: "anonymous structure",
      swift: ab(.u32, 4, .u32, 8),
      map: .structure(
        "s",
        8,
        [member("a", 0, .u32), member("", 4, .structure(4, [member("b", 0, .u32)]))]
      )
    ),
    Case(
      what: "anonymous union in an anonymous structure",
      swift: ab(.u32, 4, .f32, 8),
      map: .structure(
        "s",
        8,
        [
          member("a", 0, .u32),
          member(
            "",
            4,
            .structure(
              4,
              [member("", 0, .union(4, [member("c", 0, .u32), member("b", 0, .f32)]))]
            )
          ),
        ]
      )
    ),
    Case(
      what: "one alternative of a named union",
      swift: one(.structure(8, [member("b", 0, .f64)]), "u"),
      map: one(.union(8, [member("a", 0, .u64), member("b", 0, .f64)]), "u")
    ),
    Case(what: "opaque number", swift: one(.opaque(size: 8)), map: one(.u64)),
    Case(what: "opaque structure", swift: one(.opaque(size: 8)), map: one(point)),
    Case(
      what: "opaque pointer",
      swift: one(.opaque(size: 8)),
      map: one(.unsupported(name: "pointer", size: 8, advice: ""))
    ),
    Case(what: "empty array in C", swift: one(.u32, "a"), map: ab(.u32, 4, .array(.u32, 0), 4)),
    Case(
      what: "map knows more at the end",
      swift: one(.u32, "a"),
      map: ab(.u32, 4, .u32, 8),
      policy: .compatible
    ),
    Case(
      what: "map uses what was padding",
      swift: ab(.u64, 8, .u32, 16),
      map: .structure(
        "s",
        16,
        [member("a", 0, .u64), member("b", 8, .u32), member("c", 12, .u32)]
      ),
      policy: .compatible
    ),
    Case(
      what: "the last structure has grown",
      swift: one(.structure("p", 4, [member("x", 0, .s32)])),
      map: one(point),
      policy: .compatible
    ),
    Case(
      what: "a lock at the end",
      swift: one(.u32, "a"),
      map: ab(.u32, 4, .unsupported(name: "lock", size: 4, advice: ""), 8),
      policy: .compatible
    ),
  ])
  func matches(_ example: Case) {
    #expect(differences(example.swift, example.map, example.policy) == [])
    #expect(compare(example.swift, example.map, example.policy).isMatch)
  }

  @Test(arguments: [
    Case(
      what: "name",
      swift: one(.u64, "deadline"),
      map: one(.u64, "dead_line"),
      expected: ["deadline: name"]
    ),
    Case(
      what: "order",
      swift: ab(.u32, 4, .u32, 8),
      map: .structure("ab", 8, [member("b", 0, .u32), member("a", 4, .u32)]),
      expected: ["b: offset", "a: offset"]
    ),
    Case(
      what: "order, other sizes",
      swift: ab(.u64, 8, .u32, 16),
      map: .structure("ab", 16, [member("b", 0, .u32), member("a", 8, .u64)]),
      expected: ["b: offset", "a: offset"]
    ),
    Case(
      what: "size",
      swift: ab(.u32, 4, .u32, 8),
      map: ab(.u64, 8, .u32, 16),
      expected: ["a: size", "b: offset", "whole: size"]
    ),
    Case(what: "sign", swift: one(.u32), map: one(.s32), expected: ["f: sign"]),
    Case(
      what: "sign of an enum",
      swift: one(.u32),
      map: one(.enumeration(name: "e", size: 4, signed: true)),
      expected: ["f: sign"]
    ),
    Case(
      what: "size of an enum",
      swift: one(.u32),
      map: one(.enumeration(name: "e", size: 8, signed: false)),
      expected: ["f: size", "whole: size"]
    ),
    Case(what: "kind: float", swift: one(.u32), map: one(.f32), expected: ["f: kind"]),
    Case(what: "kind: bool", swift: one(.u8), map: one(.boolean), expected: ["f: kind"]),
    Case(what: "kind: number", swift: one(.boolean), map: one(.u8), expected: ["f: kind"]),
    Case(what: "kind: char", swift: one(.boolean), map: one(.character), expected: ["f: kind"]),
    Case(
      what: "size of char",
      swift: one(.u16),
      map: one(.character),
      expected: ["f: size", "whole: size"]
    ),
    Case(
      what: "an imported enumeration, sign",
      swift: one(.structure("Color", 4, [member("rawValue", 0, .u32)])),
      map: one(.enumeration(name: "color", size: 4, signed: true)),
      expected: ["f: sign"]
    ),
    Case(
      what: "array dimensions, one of one element",
      swift: one(.array(.u32, 3)),
      map: one(.array(.array(.u32, 2), 1)),
      expected: ["f: length, size", "whole: size"]
    ),
    Case(what: "kind: structure", swift: one(.u64), map: one(point), expected: ["f: kind"]),
    Case(
      what: "kind: array",
      swift: one(.u64),
      map: one(.array(.u8, 8)),
      expected: ["f: kind"]
    ),
    Case(
      what: "float size",
      swift: one(.f64),
      map: one(.f32),
      expected: ["f: size", "whole: size"]
    ),
    Case(
      what: "array length",
      swift: one(.array(.s8, 16)),
      map: one(.array(.character, 32)),
      expected: ["f: length, size", "whole: size"]
    ),
    Case(
      what: "array element",
      swift: one(.array(.u32, 2)),
      map: one(.array(.s32, 2)),
      expected: ["f: sign"]
    ),
    Case(
      what: "array nesting",
      swift: one(.array(.u16, 6)),
      map: one(.array(.array(.u16, 3), 2)),
      expected: ["f: kind, length"]
    ),
    Case(
      what: "array dimensions",
      swift: one(.array(.array(.u16, 2), 3)),
      map: one(.array(.array(.u16, 3), 2)),
      expected: ["f: length"]
    ),
    Case(
      what: "array of structures, member",
      swift: one(.array(.structure("p", 8, [member("x", 0, .s32), member("y", 4, .u32)]), 4)),
      map: one(.array(point, 4)),
      expected: ["f[].y: sign"]
    ),
    Case(
      what: "array of structures, stride",
      swift: one(.array(.structure("p", 8, [member("x", 0, .s32), member("y", 4, .s32)]), 2)),
      map: one(.array(.structure("p", 16, [member("x", 0, .s32), member("y", 8, .s32)]), 2)),
      expected: ["f: size", "f[].y: offset", "whole: size"]
    ),
    Case(
      what: "nesting",
      swift: ab(.u32, 4, .u32, 8),
      map: .structure(
        "ab",
        8,
        [member("a", 0, .u32), member("n", 4, .structure("n", 4, [member("b", 0, .u32)]))]
      ),
      expected: ["b: extra", "n: missing"]
    ),
    Case(
      what: "inside a nested structure",
      swift: one(point, "p"),
      map: one(.structure("p", 8, [member("x", 0, .s32), member("z", 4, .u32)]), "p"),
      expected: ["p.y: extra", "p.z: missing"]
    ),
    Case(
      what: "renamed structure",
      swift: one(point, "p"),
      map: one(point, "pos"),
      expected: ["p: name"]
    ),
    Case(
      what: "missing in between",
      swift: ab(.u32, 8, .u32, 12),
      map: .structure("s", 12, [member("a", 0, .u32), member("c", 4, .u32), member("b", 8, .u32)]),
      expected: ["c: missing"]
    ),
    Case(
      what: "too short: missing at the end",
      swift: one(.u32, "a"),
      map: ab(.u32, 4, .u32, 8),
      expected: ["b: missing", "whole: size"]
    ),
    Case(
      what: "too long: extra at the end",
      swift: ab(.u32, 4, .u32, 8),
      map: one(.u32, "a"),
      expected: ["b: extra", "whole: size"]
    ),
    Case(
      what: "extra in what is padding in C",
      swift: ab(.u64, 8, .u32, 16),
      map: one(.u64, "a", size: 16),
      expected: ["b: extra"]
    ),
    Case(
      what: "padding at the end",
      swift: one(.u32),
      map: one(.u32, size: 8),
      expected: ["whole: size"]
    ),
    Case(
      what: "padding of a nested structure",
      swift: .structure(
        "s",
        16,
        [
          member("t", 0, .structure("T", 16, [member("w", 0, .u64), member("p", 8, .u32)])),
          member("b", 12, .u8),
        ]
      ),
      map: .structure(
        "s",
        24,
        [
          member("t", 0, .structure("T", 16, [member("w", 0, .u64), member("p", 8, .u32)])),
          member("b", 16, .u8),
        ]
      ),
      expected: ["b: offset", "whole: size"]
    ),
    Case(
      what: "no alternative of a union",
      swift: one(.u32, "a", size: 8),
      map: .structure(
        "s",
        8,
        [
          member("a", 0, .u32),
          member("", 4, .union(4, [member("b", 0, .u32), member("c", 0, .f32)])),
        ]
      ),
      expected: ["b: missing"]
    ),
    Case(
      what: "half an alternative of a union",
      swift: one(.s32, "x", size: 8),
      map: .structure(
        "s",
        8,
        [member("", 0, .union(8, [member("", 0, point), member("n", 0, .u64)]))]
      ),
      expected: ["y: missing"]
    ),
    Case(
      what: "a number for a union",
      swift: one(.u64, "u"),
      map: one(.union(8, [member("a", 0, .u64), member("b", 0, .f64)]), "u"),
      expected: ["u: kind"]
    ),
    Case(
      what: "opaque of another size",
      swift: one(.opaque(size: 8)),
      map: one(.u32),
      expected: ["f: size", "whole: size"]
    ),
    Case(
      what: "unsupported",
      swift: one(.u32),
      map: one(.unsupported(name: "spin lock", size: 4, advice: "x")),
      expected: ["f: unsupported"]
    ),
    Case(
      what: "unsupported and not in Swift",
      swift: one(.u32, "a"),
      map: ab(.u32, 4, .unsupported(name: "spin lock", size: 4, advice: "x"), 8),
      expected: ["b: missing", "whole: size"]
    ),
    Case(
      what: "array of unsupported",
      swift: one(.array(.u64, 2)),
      map: one(.array(.unsupported(name: "pointer", size: 8, advice: "x"), 2)),
      expected: ["f: unsupported"]
    ),
    Case(
      what: "a bit-field without a size",
      swift: one(.u32, "a"),
      map: ab(.u32, 4, .unsupported(name: "bit-field", size: 0, advice: "x"), 4),
      expected: ["b: missing"]
    ),
    Case(
      what: "compatible: in between",
      swift: ab(.u32, 8, .u32, 12),
      map: .structure("s", 12, [member("a", 0, .u32), member("c", 4, .u32), member("b", 8, .u32)]),
      policy: .compatible,
      expected: ["c: missing"]
    ),
    Case(
      what: "compatible: map too short",
      swift: ab(.u32, 4, .u32, 8),
      map: one(.u32, "a"),
      policy: .compatible,
      expected: ["b: extra", "whole: size"]
    ),
    Case(
      what: "compatible: known fields differ",
      swift: ab(.u32, 4, .u32, 8),
      map: .structure("s", 12, [member("a", 0, .u32), member("b", 4, .s32), member("c", 8, .u32)]),
      policy: .compatible,
      expected: ["b: sign"]
    ),
    Case(
      what: "compatible: grown array element",
      swift: one(.array(.structure("p", 4, [member("x", 0, .s32)]), 2)),
      map: one(.array(point, 2)),
      policy: .compatible,
      expected: ["f: size", "f[].y: missing"]
    ),
    Case(
      what: "compatible: grown array element, behind all that Swift knows",
      swift: one(.array(.structure("p", 4, [member("x", 0, .s32)]), 2)),
      map: one(
        .array(.structure("p", 16, [member("x", 0, .s32), member("y", 8, .u64)]), 2)
      ),
      policy: .compatible,
      expected: ["f: size", "f[].y: missing"]
    ),
    Case(
      what: "a bit-field at another bit",
      swift: one(.bitField(bit: 0, width: 3)),
      map: one(.bitField(bit: 1, width: 3)),
      expected: ["f: kind"]
    ),
    Case(
      what: "a bit-field of another width",
      swift: one(.bitField(bit: 0, width: 3)),
      map: one(.bitField(bit: 0, width: 4)),
      expected: ["f: kind"]
    ),
    Case(
      what: "everything at once",
      swift: .structure(
        "s",
        24,
        [
          member("a", 0, .u32), member("b", 4, .f32), member("c", 8, .u64), member("d", 16, .u64),
        ]
      ),
      map: .structure(
        "s",
        32,
        [
          member("a", 0, .s32), member("b", 4, .u32), member("x", 8, .u32), member("c", 16, .u64),
          member("e", 24, .u64),
        ]
      ),
      expected: [
        "a: sign", "b: kind", "x: missing", "c: offset", "d: extra", "e: missing", "whole: size",
      ]
    ),
  ])
  func findsDifferences(_ example: Case) {
    let comparison = compare(example.swift, example.map, example.policy)
    #expect(
      differences(example.swift, example.map, example.policy) == example.expected,
      "\(comparison.table)"
    )
    #expect(!comparison.isMatch)
    let hasAHintForEachRow = comparison.mismatches.allSatisfy {
      !$0.hint.isEmpty || $0.swift?.name == ""
    }
    #expect(hasAHintForEachRow, "\(comparison.table)")
  }

  /// A layout with one difference of each kind in turn, also at depth.
  private static func variants(of type: FieldType) -> [FieldType] {
    switch type {
    case .structure(let layout):
      var all = [type]
      func add(_ change: (inout CompositeLayout) -> Void) {
        var changed = layout
        change(&changed)
        all += [.structure(changed), .union(changed)]
      }
      add { $0.size += 4 }
      add { $0.members.reverse() }
      for index in layout.members.indices {
        add { $0.members[index].name = "" }
        add { $0.members[index].name += "_" }
        add { $0.members[index].offset += 1 }
        add { $0.members.remove(at: index) }
        for inner in variants(of: layout.members[index].type) {
          add { $0.members[index].type = inner }
        }
      }
      return all
    case .array(let element, let count):
      return [.array(element, count + 1), element]
        + variants(of: element).map { .array($0, count) }
    default:
      return [
        type, .u32, .s32, .u64, .character, .boolean, .f32, .array(type, 1), .opaque(size: 4),
        .enumeration(name: "e", size: 4, signed: false),
        .unsupported(name: "lock", size: 4, advice: ""),
      ]
    }
  }

  @Test func isMatchAgreesWithTheRows() {
    let point = FieldType.structure("p", 8, [member("atX", 0, .s32), member("y", 4, .u32)])
    let type = FieldType.structure(
      "t",
      40,
      [member("a", 0, .u32), member("b", 4, point), member("c", 12, .array(point, 3))]
    )
    let all = Self.variants(of: type)
    var matching = 0
    let pairs = all.flatMap { [(type, $0), ($0, type), ($0, $0)] }
    for (left, right) in pairs {
      for policy in [LayoutPolicy.exact, .compatible] {
        let comparison = compare(left, right, policy)
        let isMatch = comparison.mismatches.isEmpty
        if comparison.isMatch != isMatch { Issue.record("\(comparison.table)") }
        if isMatch { matching += 1 }
      }
    }
    #expect(matching > all.count)
  }

  @Test func keepsMatchingRowsForContext() {
    let comparison = compare(Self.ab(.u32, 4, .u32, 8), Self.ab(.u32, 4, .s32, 8))
    #expect(comparison.rows.map { $0.swift?.name } == ["a", "b", ""])
    #expect(comparison.rows.map(\.differences) == [[], [.sign], []])
  }

  @Test(arguments: [
    ("requestID", "request_id"), ("deadline", "deadline"), ("urlPath", "url_path"),
    ("parseURLPath", "parse_url_path"), ("requestIDs", "request_ids"), ("URLs", "urls"),
    ("latencyP99", "latency_p99"), ("p99Latency", "p99_latency"), ("_reserved", "_reserved"),
    ("already_snake", "already_snake"), ("x", "x"), ("userID2", "user_id2"),
  ])
  func acceptsTheSnakeCaseName(_ swift: String, _ c: String) {
    #expect(differences(Self.one(.u32, swift), Self.one(.u32, c)) == [])
  }

  @Test func prefersTheNameItself() {
    let swift = FieldType.structure("s", 8, [member("aB", 4, .u32), member("a_b", 0, .u32)])
    let map = FieldType.structure("s", 8, [member("a_b", 0, .u32), member("aB", 4, .u32)])
    #expect(differences(swift, map) == [])
  }

  @Test func throwsTheTable() throws {
    let comparison = compare(Self.one(.u32), Self.one(.s32))
    let error = try #require(throws: BPFError.self) { try comparison.check() }
    #expect(error.kind == .layoutMismatch)
    #expect(
      "\(error)".hasPrefix(
        "cannot use Swift type 'RequestTag' as the value: map 'request_tags'; the layouts differ "
          + "in 1 row, marked '!' below\n"
      )
    )
    #expect(error.details == comparison.table)
    try compare(Self.one(.u32), Self.one(.u32)).check()
  }

  /// Takes seconds. An algorithm that is quadratic in the number of fields takes more than an hour.
  @Test(.timeLimit(.minutes(1))) func manyFieldsAreCompared() {
    let count = 40_000
    let left = (0..<count).map { member("field\($0)", 4 * $0, .u32) }
    let right = (0..<count).map { member("other\($0)", 4 * $0 + 4, .s32) }
    let comparison = compare(
      .structure("many", 4 * count, left),
      .structure("many", 4 * count + 4, right)
    )
    let error = #expect(throws: BPFError.self) { try comparison.check() }
    #expect(comparison.rows.count == 2 * count + 1)
    #expect(error?.details.contains("field\(count - 1)") == true)
  }
}
