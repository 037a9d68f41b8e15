// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageInspection
import Testing

/// Layouts read from an object file: needs neither rights nor a kernel with BPF.
@Suite struct ObjectLayoutTests {
  @Test func scalarsOfEveryKind() throws {
    let layout = try BPFObject(.layouts).layout(ofMap: "scalars")
    #expect(layout.name == "scalars")
    let expected: [CompositeLayout.Member] = [
      .init(name: "s8", offset: 0, type: .integer(size: 1, signed: true)),
      .init(name: "u8", offset: 1, type: .integer(size: 1, signed: false)),
      .init(name: "letter", offset: 2, type: .character),
      .init(name: "flag", offset: 3, type: .boolean),
      .init(name: "port", offset: 4, type: .integer(size: 2, signed: false)),
      .init(name: "s32", offset: 8, type: .integer(size: 4, signed: true)),
      .init(
        name: "color",
        offset: 12,
        type: .enumeration(
          name: "color",
          size: 4,
          signed: false,
          enumerators: [Enumerator(name: "RED", bits: 0), Enumerator(name: "GREEN", bits: 1)]
        )
      ),
      .init(
        name: "balance",
        offset: 16,
        type: .enumeration(
          name: "balance",
          size: 4,
          signed: true,
          enumerators: [Enumerator(name: "DEBT", bits: .max), Enumerator(name: "CREDIT", bits: 1)]
        )
      ),
      .init(
        name: "mask",
        offset: 24,
        type: .enumeration(
          name: "mask",
          size: 8,
          signed: false,
          enumerators: [Enumerator(name: "LOW", bits: 1), Enumerator(name: "HIGH", bits: 1 << 63)]
        )
      ),
      .init(
        name: "depth",
        offset: 32,
        type: .enumeration(
          name: "depth",
          size: 8,
          signed: true,
          enumerators: [Enumerator(name: "DEEP", bits: 0x9000_0000_0000_0000)]
        )
      ),
      .init(name: "single", offset: 40, type: .floatingPoint(size: 4)),
      .init(name: "twice", offset: 48, type: .floatingPoint(size: 8)),
      .init(name: "number", offset: 56, type: .integer(size: 8, signed: true)),
    ]
    #expect(
      layout.type == .structure(CompositeLayout(name: "scalars", size: 64, members: expected))
    )
  }

  @Test func enumerationsHaveNames() throws {
    let layout = try BPFObject(.layouts).layout(ofMap: "scalars")
    func text(_ name: String, _ number: UInt64) throws -> String {
      let field = try #require(layout.fields.first { $0.name == name })
      var bytes = [UInt8](repeating: 0, count: layout.size)
      for index in 0..<field.size {
        bytes[field.offset + index] = UInt8(truncatingIfNeeded: number >> UInt64(8 * index))
      }
      return field.value(in: bytes).description
    }
    #expect(try text("color", 1) == "GREEN (1)")
    #expect(try text("color", 7) == "7")
    #expect(try text("balance", .max) == "DEBT (-1)")
    #expect(try text("balance", 2) == "2")
    #expect(try text("mask", 1 << 63) == "HIGH (9223372036854775808)")
    #expect(try text("depth", 0x9000_0000_0000_0000) == "DEEP (-8070450532247928832)")
    let depth = try #require(layout.fields.first { $0.name == "depth" })
    #expect(depth.enumerators.map(\.description) == ["DEEP (-8070450532247928832)"])
    #expect(layout.fields.first { $0.name == "s32" }?.enumerators.isEmpty == true)
  }

  @Test func nestedStructuresArraysAndAnonymousMembers() throws {
    let point = FieldType.structure(
      CompositeLayout(
        name: "point",
        size: 4,
        members: [
          .init(name: "x", offset: 0, type: .integer(size: 2, signed: true)),
          .init(name: "y", offset: 2, type: .integer(size: 2, signed: true)),
        ]
      )
    )
    let byte = FieldType.integer(size: 1, signed: false)
    let half = FieldType.integer(size: 4, signed: false)
    let whole = FieldType.integer(size: 8, signed: false)
    let union = CompositeLayout(
      name: "",
      size: 8,
      members: [
        .init(name: "whole", offset: 0, type: whole),
        .init(name: "halves", offset: 0, type: .array(of: half, count: 2)),
      ]
    )
    let anonymous = CompositeLayout(
      name: "",
      size: 16,
      members: [
        .init(name: "inner", offset: 0, type: half),
        .init(name: "", offset: 8, type: .union(union)),
      ]
    )
    let expected = CompositeLayout(
      name: "nested",
      size: 40,
      members: [
        .init(name: "corner", offset: 0, type: point),
        .init(name: "line", offset: 4, type: .array(of: point, count: 2)),
        .init(name: "grid", offset: 12, type: .array(of: .array(of: byte, count: 3), count: 2)),
        .init(name: "", offset: 24, type: .structure(anonymous)),
        .init(name: "tail", offset: 40, type: .array(of: whole, count: 0)),
      ]
    )
    #expect(try BPFObject(.layouts).layout(ofMap: "nested").type == .structure(expected))
  }

  @Test func bareScalarsAndNamelessStructures() throws {
    let object = try BPFObject(.layouts)
    let plain = try object.layout(ofMap: "plain")
    #expect(plain == ValueLayout(name: "__u32", type: .integer(size: 4, signed: false)))
    let nameless = try object.layout(ofMap: "nameless")
    #expect(nameless.name == "nameless_type")
    guard case .structure(let layout) = nameless.type else {
      Issue.record("\(nameless) is no structure")
      return
    }
    #expect(layout.name == "nameless_type" && layout.members.map(\.name) == ["only"])
  }

  @Test func unsupportedFieldsAreNamedWithAdvice() throws {
    guard case .structure(let layout) = try BPFObject(.layouts).layout(ofMap: "refused").type
    else {
      Issue.record("not a structure")
      return
    }
    var found: [String: (offset: Int, name: String, size: Int)] = [:]
    for member in layout.members {
      guard let (name, advice) = member.type.unsupported else {
        Issue.record("\(member.name) passes as \(member.type)")
        continue
      }
      #expect(!advice.isEmpty, "\(member.name)")
      found[member.name] = (member.offset, name, member.type.size)
    }
    let expected: [String: (offset: Int, name: String, size: Int)] = [
      "lock": (0, "struct bpf_spin_lock", 4),
      "low": (4, "bit-field of 3 bits", 1),
      "high": (4, "bit-field of 7 bits", 2),
      "timer": (8, "struct bpf_timer", 16),
      "pointer": (24, "pointer", 8),
      "page": (32, "uptr pointer", 8),
      "owned": (40, "kptr pointer", 8),
      "wide": (48, "__int128", 16),
      "call": (64, "pointer", 8),
    ]
    #expect(Set(found.keys) == Set(expected.keys))
    for (name, value) in expected {
      #expect(
        found[name].map { $0 == value } == true,
        "\(name): \(String(describing: found[name]))"
      )
    }
  }

  @Test func aMapWithoutAValueTypeHasNoLayout() throws {
    let object = try BPFObject(.layouts)
    let error = try #require(throws: BPFError.self) { try object.layout(ofMap: "untyped") }
    #expect(error.kind == .layoutUnavailable)
    #expect("\(error)".contains("untyped") && error.advice.contains("__type(value"))
  }

  @Test func anUnknownMapIsAnsweredWithTheKnownOnes() throws {
    let object = try BPFObject(.layouts)
    let error = try #require(throws: BPFError.self) { try object.layout(ofMap: "scalar") }
    #expect(error.kind == .notFound)
    #expect(error.advice.contains("scalars, nested, plain, nameless, refused, untyped"))
  }
}
