// SPDX-License-Identifier: Apache-2.0
import BPFBindings
import LibBPF
import Testing

/// Types that no program uses, or that are damaged.
struct UnlikelyTypesTests {
  @Test func structuresThatAreNestedDeeply() throws {
    func nested(_ depth: Int) -> String {
      "struct s1 { int x; };"
        + (2...depth).map { "struct s\($0) { struct s\($0 - 1) x; };" }.joined()
        + "struct s\(depth) value;"
    }
    #expect(try text(nested(127)).contains("struct S127: MmapStorage.MapValue"))
    #expect(try error(nested(128)).description.contains("nested too deeply"))
  }

  /// The structure is in a section that is searched for the kernel's locks.
  @Test func aStructureThatContainsItself() throws {
    let object = try object(
      "struct inner { long x; }; struct outer { char bytes[77]; struct inner inner; } value;"
    )
    let btf = try #require(try BPFObject.open(bytes: object, name: "test").btf)
    let outer = try #require(
      try (1..<btf.typeCount).first { try btf.type($0).name == "outer" }
    )
    // The member's type is before its offset in bits.
    let offset: UInt32 = 80 * 8
    let damaged = try object.replacingWord(before: offset, with: outer)
    let error = #expect(throws: BindingError.self) { try text(of: damaged) }
    #expect(error?.description.contains("contains itself") == true)
  }

  @Test func anIntegerOfThreeBytes() throws {
    // The size of a signed integer is before its encoding and its number of bits.
    let damaged = try object("int number;").replacingWord(before: 0x0100_0020, with: 3)
    let error = #expect(throws: BindingError.self) { try text(of: damaged) }
    #expect(error?.description.contains("an integer of 3 bytes") == true)
  }
}

extension [UInt8] {
  /// Replaces the 32-bit word before the only one with this value.
  fileprivate func replacingWord(before word: UInt32, with new: UInt32) throws -> [UInt8] {
    let bytes = Swift.withUnsafeBytes(of: word.littleEndian) { [UInt8]($0) }
    let places = ranges(of: bytes)
    try #require(places.count == 1, "\(places)")
    let start = places[0].lowerBound - 4
    var result = self
    Swift.withUnsafeBytes(of: new.littleEndian) {
      result.replaceSubrange(start..<start + 4, with: $0)
    }
    return result
  }
}
