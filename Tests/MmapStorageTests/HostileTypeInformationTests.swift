// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import Testing

/// Type information from untrusted files must not hang or crash the reader, and must not be
/// accepted as a layout.
@Suite struct HostileTypeInformationTests {
  @Test func validTypeInformationIsRead() throws {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    let pair = types.addStructure("pair", size: 8, [("a", int, 0), ("b", int, 32)])
    let layout = try types.valueLayout(of: pair, size: 8)
    #expect(layout.name == "pair")
    guard case .structure(let pair) = layout.type else {
      Issue.record("\(layout.type)")
      return
    }
    #expect(pair.members.map(\.offset) == [0, 4])
  }

  @Test func aTypedefThatRefersToItself() {
    var types = RawTypes()
    let typedef = types.add("loop", kind: 8, sizeOrType: 1)
    expectRefusal(of: typedef, in: types, size: 4, because: "itself")
  }

  @Test func aStructureThatContainsItself() {
    var types = RawTypes()
    let structure = types.addStructure("self", size: 4, [("self", 1, 0)])
    expectRefusal(of: structure, in: types, size: 4, because: "contains itself")
  }

  @Test func anArrayThatContainsItself() {
    var types = RawTypes()
    let array = types.addArray(of: 1, count: 1)
    expectRefusal(of: array, in: types, size: 4, because: "contains itself")
  }

  @Test func emptyStructuresThatDoubleAtEveryLevel() {
    var types = RawTypes()
    var last = types.addStructure("empty", size: 0, [])
    for _ in 0..<50 {
      last = types.addStructure("twice", size: 0, [("a", last, 0), ("b", last, 0)])
    }
    expectRefusal(of: last, in: types, size: 0, because: "too many parts")
  }

  @Test func arraysThatOverflow() {
    var types = RawTypes()
    var last = types.addInteger("long", size: 8)
    for _ in 0..<4 { last = types.addArray(of: last, count: .max) }
    expectRefusal(of: last, in: types, size: 8, because: "larger than any value")
  }

  @Test func aMemberOutsideOfItsStructure() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    let structure = types.addStructure("short", size: 6, [("a", int, 0), ("b", int, 32)])
    expectRefusal(of: structure, in: types, size: 6, because: "'b' does not fit")
  }

  @Test func aMemberThatBeginsInsideAByte() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    let structure = types.addStructure("askew", size: 8, [("a", int, 3)])
    expectRefusal(of: structure, in: types, size: 8, because: "'a' does not fit")
  }

  @Test func aTypeThatDoesNotExist() {
    var types = RawTypes()
    let typedef = types.add("lost", kind: 8, sizeOrType: 99)
    expectRefusal(of: typedef, in: types, size: 4, because: "no type 99", orByLibBPF: true)
    expectRefusal(of: 7, in: types, size: 4, because: "no type 7", orByLibBPF: true)
  }

  @Test func aNameOffsetOutsideOfTheStrings() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4, nameOffset: 1 << 20)
    expectRefusal(
      of: int,
      in: types,
      size: 4,
      because: "no name at offset 1048576",
      orByLibBPF: true
    )
  }

  @Test func aFunctionAndVoidAndADeclaration() {
    var types = RawTypes()
    let function = types.add("", kind: 13, sizeOrType: 0)
    let declaration = types.add("later", kind: 7, sizeOrType: 0)
    expectRefusal(of: function, in: types, size: 4, because: "of a kind that has no size")
    expectRefusal(of: 0, in: types, size: 4, because: "of a kind that has no size")
    expectRefusal(of: declaration, in: types, size: 4, because: "'later' is declared")
  }

  @Test func aSizeOtherThanTheMaps() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    expectRefusal(of: int, in: types, size: 8, because: "has 4 bytes, the map's values have 8")
  }

  @Test func truncatedTypeInformation() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    let pair = types.addStructure("pair", size: 8, [("a", int, 0), ("b", int, 32)])
    let bytes = types.bytes
    for length in bytes.indices {
      #expect(throws: BPFError.self, "cut to \(length) bytes") {
        try BTF(bytes: Array(bytes[..<length]), name: "cut")
          .valueLayout(ofType: pair, size: 8)
      }
    }
  }

  /// Regression: an endless loop while reading the name of the tagged type.
  @Test func aTypeTagThatRefersToItself() {
    var types = RawTypes()
    let tag: UInt32 = 1
    #expect(types.add("uptr", kind: 18, sizeOrType: tag) == tag)
    let pointer = types.add("", kind: 2, sizeOrType: tag)
    let page = types.addStructure("page", size: 8, [("value", pointer, 0)])
    expectRefusal(of: page, in: types, size: 8, because: "itself")
  }

  @Test func aTypeTagThatRefersToItselfThroughAConst() {
    var types = RawTypes()
    let tag = types.add("uptr", kind: 18, sizeOrType: 2)
    #expect(types.add("", kind: 10, sizeOrType: tag) == 2)
    let pointer = types.add("", kind: 2, sizeOrType: tag)
    let page = types.addStructure("page", size: 8, [("value", pointer, 0)])
    expectRefusal(of: page, in: types, size: 8, because: "itself")
  }

  @Test func aUnionAlternativeBehindItsStart() {
    var types = RawTypes()
    let int = types.addInteger("int", size: 4)
    let union = types.addStructure("either", kind: 5, size: 8, [("a", int, 0), ("b", int, 32)])
    expectRefusal(of: union, in: types, size: 8, because: "'b' of union 'either'")
  }

  @Test func deepNestingIsRead() throws {
    var types = RawTypes()
    var last = types.addInteger("int", size: 4)
    for level in 0..<200 { last = types.addStructure("level\(level)", size: 4, [("a", last, 0)]) }
    #expect(try types.valueLayout(of: last, size: 4).name == "level199")
    for level in 200..<300 { last = types.addStructure("level\(level)", size: 4, [("a", last, 0)]) }
    expectRefusal(of: last, in: types, size: 4, because: "256 levels deep")
  }

  /// Newer versions of libbpf check ids and names when they open the bytes.
  private func expectRefusal(
    of type: UInt32,
    in types: RawTypes,
    size: Int,
    because reason: String,
    orByLibBPF: Bool = false,
    sourceLocation: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: BPFError.self, sourceLocation: sourceLocation) {
      try types.valueLayout(of: type, size: size)
    }
    #expect(error?.kind == .invalidObject, sourceLocation: sourceLocation)
    #expect(
      error?.advice.contains(reason) == true
        || orByLibBPF && error?.advice.contains("truncated or damaged") == true,
      "\(error?.advice ?? "")",
      sourceLocation: sourceLocation
    )
  }
}

/// The bytes of a ".BTF" section, with arbitrary contents.
private struct RawTypes {
  private var types: [UInt32] = []
  private var names: [UInt8] = [0]
  private var count: UInt32 = 0

  mutating func add(
    _ name: String,
    kind: UInt32,
    count members: Int = 0,
    sizeOrType: UInt32,
    extra: [UInt32] = [],
    nameOffset: UInt32? = nil
  ) -> UInt32 {
    let offset = nameOffset ?? place(name)
    types += [offset, kind << 24 | UInt32(members), sizeOrType] + extra
    count += 1
    return count
  }

  mutating func addInteger(_ name: String, size: UInt32, nameOffset: UInt32? = nil) -> UInt32 {
    add(name, kind: 1, sizeOrType: size, extra: [size * 8], nameOffset: nameOffset)
  }

  mutating func addArray(of element: UInt32, count: UInt32) -> UInt32 {
    add("", kind: 3, sizeOrType: 0, extra: [element, element, count])
  }

  mutating func addStructure(
    _ name: String,
    kind: UInt32 = 4,
    size: UInt32,
    _ members: [(name: String, type: UInt32, bits: UInt32)]
  ) -> UInt32 {
    let extra = members.flatMap { [place($0.name), $0.type, $0.bits] }
    return add(name, kind: kind, count: members.count, sizeOrType: size, extra: extra)
  }

  func valueLayout(of type: UInt32, size: Int) throws -> ValueLayout {
    try BTF(bytes: bytes, name: "raw").valueLayout(ofType: type, size: size)
  }

  var bytes: [UInt8] {
    let typeBytes = types.count * 4
    let header: [UInt32] = [
      0x0001_eb9f, 24, 0, UInt32(typeBytes), UInt32(typeBytes), UInt32(names.count),
    ]
    return (header + types).flatMap { word in withUnsafeBytes(of: word) { [UInt8]($0) } } + names
  }

  private mutating func place(_ name: String) -> UInt32 {
    guard !name.isEmpty else { return 0 }
    defer { names += Array(name.utf8) + [0] }
    return UInt32(names.count)
  }
}
