// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageInspection
import Testing

@Suite struct FieldValueTests {
  private func value(_ type: FieldType, _ bytes: [UInt8]) throws -> FieldValue {
    let layout = ValueLayout(name: "value", type: type)
    return try #require(layout.fields.first).value(in: bytes)
  }

  @Test func numbersHaveTheirSigns() throws {
    let bytes: [UInt8] = [0xFE, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF]
    for size in [1, 2, 4, 8] {
      #expect(try value(.integer(size: size, signed: true), bytes) == .signed(-2))
      let unsigned = (UInt64.max >> UInt64(64 - 8 * size)) - 1
      #expect(try value(.integer(size: size, signed: false), bytes) == .unsigned(unsigned))
    }
  }

  @Test func aBitFieldInNineBytes() throws {
    let number: UInt64 = 0x5A5A_5A5A_5A5A_5A5A
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: (number << 4) >> (8 * UInt64($0))) }
    // The bits before and after it are set.
    bytes[0] |= 0x0F
    bytes.append(UInt8(truncatingIfNeeded: number >> 60) | 0xF8)
    #expect(try value(.bitField(bit: 4, width: 63), bytes) == .unsigned(number))
  }

  @Test func membersOfAnonymousMembers() throws {
    let byte = FieldType.integer(size: 1, signed: false)
    let a = CompositeLayout(name: "", size: 1, members: [.init(name: "a", offset: 0, type: byte)])
    let b = CompositeLayout(name: "", size: 1, members: [.init(name: "b", offset: 0, type: byte)])
    let element = CompositeLayout(
      name: "element",
      size: 2,
      members: [
        .init(name: "", offset: 0, type: .union(a)),
        .init(name: "", offset: 1, type: .structure(b)),
      ]
    )
    let found = try value(.array(of: .structure(element), count: 2), [1, 2, 3, 4])
    #expect(found.description == "[{a: 1, b: 2}, {a: 3, b: 4}]")
  }

  @Test func bytesHaveTheOrderOfMemory() {
    #expect(FieldValue.bytes([0x10, 0x0A, 0]).description == "10 0a 00")
  }

  @Test func textKeepsItsDirection() {
    let text = "a\u{202E}b\u{2066}c"
    #expect(FieldValue.text(text).description == #""a\u{202E}b\u{2066}c""#)
  }

  @Test func controlCharactersAreEscaped() {
    let text = "\u{1B}[2J\u{7F}\u{9B}\"\\"
    let escaped = #"\u{1B}[2J\u{7F}\u{009B}\"\\"#
    #expect(FieldValue.text(text).description == "\"\(escaped)\"")
    #expect(FieldValue.enumeration(name: text, number: .signed(1)).description == "\(escaped) (1)")
  }
}
