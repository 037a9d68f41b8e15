// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Objects that differ from the pinned ones although the kernel's tags are the same.
@Suite(.liveKernel) struct PinDifferencesTests {
  /// A variant of pin-counts.h, under the common name.
  private func counts(_ image: BPFObjectImage) throws -> BPFObject {
    let object = try BPFObject(bytes: image.bytes, name: "counts")
    try object.setGlobal("target_tgid", to: getpid())
    return object
  }

  /// Loads a variant while another one is pinned.
  private func expectMismatch(
    _ image: BPFObjectImage,
    _ differences: [String],
    whenReplaced check: (BPFObject) throws -> Void = { _ in }
  ) throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try counts(.pinCounts)
      #expect(try first.loadAndAttach(pinnedIn: directory) == .created)
      _ = getppid()
      func programTags(_ object: BPFObject) throws -> [String] {
        try ["count_calls", "count_bytes"].map { try object.program($0).loaded().info.tag }
      }
      let tags = try programTags(first)
      let pins = BPFPinDirectory(directory)
      let link = try BPFLink(pinnedAt: pins.link("count_calls")).info.id
      first.close()
      let again = try counts(.pinCounts)
      #expect(try again.loadAndAttach(pinnedIn: directory) == .reused)
      again.close()

      let error = try #require(throws: BPFError.self) {
        try counts(image).loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch)
      #expect(error.details.split(separator: "\n").map(String.init) == differences, "\(error)")
      #expect(try BPFLink(pinnedAt: pins.link("count_calls")).info.id == link)

      let other = try counts(image)
      #expect(try other.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced)
      #expect(try programTags(other) == tags)
      try check(other)
      other.close()
      #expect(try counts(image).loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  private func expectCounts(_ object: BPFObject) throws {
    for _ in 0..<10 { _ = getppid() }
    // Other threads of this process also make system calls, so the two are not equal.
    let calls = try object.global("calls", as: UInt64.self)
    let bytes = try object.global("bytes", as: UInt64.self)
    #expect(bytes > 0 && bytes % 1000 == 0 && calls < bytes, "\(calls) calls, \(bytes) bytes")
  }

  @Test func variablesAtOtherOffsets() throws {
    try expectMismatch(
      .pinCountsSwapped,
      ["map 'counts.bss': other variables are pinned, or they are at other offsets"],
      whenReplaced: expectCounts
    )
  }

  @Test func variablesWithOtherNames() throws {
    try expectMismatch(
      .pinCountsRenamed,
      ["map 'counts.bss': other variables are pinned, or they are at other offsets"]
    )
  }

  @Test func mapsInOtherPlaces() throws {
    try expectMismatch(
      .pinCountsOtherMaps,
      [
        "program 'count_calls': the pinned program uses other maps, or global variables at other "
          + "offsets"
      ]
    )
  }

  @Test func valuesOfTheSameSizeAndAnotherType() throws {
    try expectMismatch(
      .pinCountsSigned,
      ["left", "right"].map { "map '\($0)': the layouts of keys or values differ" }
    )
  }

  @Test func anotherVariableInTheSamePlace() throws {
    try expectMismatch(
      .pinCountsOtherVariable,
      [
        "program 'count_calls': the pinned program uses other maps, or global variables at other "
          + "offsets"
      ]
    )
  }

  /// The kernel reports only the size of a section, not its variables and types.
  @Test(arguments: [
    TypeChange("a member's name", Array("inner_number".utf8), Array("inner_numbeR".utf8)),
    TypeChange("a member's offset in bits", word: 3 << 24 | 64, 3 << 24 | 65),
    TypeChange("a bit-field's width", word: 3 << 24 | 64, 2 << 24 | 64),
    TypeChange("signedness", word: 1 << 24 | 32, 32),
    TypeChange("a union instead of a structure", word: 4 << 24 | 2, 5 << 24 | 2),
    TypeChange("the number of elements", word: 1234, 1233),
    TypeChange("the size of a structure", [2, 0, 0, 4, 8], [2, 0, 0, 4, 12]),
  ])
  func variablesOfOtherTypes(_ change: TypeChange) throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let image = BPFObjectImage.pinTypes.bytes
      func object(_ bytes: [UInt8]) throws -> BPFObject {
        try BPFObject(bytes: bytes, name: "types")
      }
      func load(_ bytes: [UInt8]) throws -> BPFPinOutcome {
        let object = try object(bytes)
        defer { object.close() }
        return try object.loadAndAttach(pinnedIn: directory)
      }
      #expect(try load(image) == .created)
      #expect(try load(image) == .reused)
      let changed = try change.made(in: image)
      let error = #expect(throws: BPFError.self) { try load(changed) }
      #expect(error?.kind == .pinMismatch)
      #expect(
        error?.details
          == "map 'types.bss': other variables are pinned, or they are at other offsets"
      )
    }
  }

  @Test func anotherHook() throws {
    try expectMismatch(
      .pinCountsExit,
      ["count_calls", "count_bytes"].map {
        "program '\($0)': section 'tp_btf/sys_enter' is pinned, the object's program has "
          + "'tp_btf/sys_exit'"
      },
      whenReplaced: expectCounts
    )
  }

  @Test func anotherNumberOfEntries() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      func resized(_ count: Int?) throws -> BPFObject {
        let object = try echo()
        if let count { try object.setMaxEntries(count, of: "not_task_storage") }
        return object
      }
      try resized(1000).loadAndAttach(pinnedIn: directory)
      #expect(try resized(1000).loadAndAttach(pinnedIn: directory) == .reused)
      for count in [nil, 10] {
        let error = try #require(throws: BPFError.self) {
          try resized(count).loadAndAttach(pinnedIn: directory)
        }
        #expect(
          error.details
            == "map 'not_task_storage': max_entries 1000 is pinned, the object declares "
            + "\(count ?? 1)"
        )
      }
      let replacing = try resized(10)
      #expect(
        try replacing.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced
      )
      #expect(try replacing.map("not_task_storage").info.maxEntries == 10)
    }
  }

  @Test func onlyProgramsThatLibbpfAttachesArePinned() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      func partly() throws -> BPFObject {
        let object = try BPFObject(.pinPartly)
        try object.setGlobal("target_tgid", to: getpid())
        return object
      }
      let first = try partly()
      #expect(try first.loadAndAttach(pinnedIn: directory) == .created)
      #expect(first.attachedPrograms == ["report"])
      first.close()
      let second = try partly()
      #expect(try second.loadAndAttach(pinnedIn: directory) == .reused)
      #expect(second.attachedPrograms == ["report"])
      #expect(try BPFPinDirectory(directory).attachedPrograms() == ["report"])
    }
  }

  @Test func mapsThatWouldHaveTheSamePin() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      for _ in 0..<2 {
        let object = try counts(.sameFileName)
        let error = try #require(throws: BPFError.self) {
          try object.loadAndAttach(pinnedIn: directory)
        }
        #expect(error.kind == .invalidArgument, "\(error)")
        for name in ["'counts_bss'", "'counts.bss'"] { #expect(error.advice.contains(name)) }
        #expect(object.attachedPrograms == [])
      }
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test func nothingIsPinnedIfAProgramCannotBeAttached() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let object = try BPFObject(.unattachable)
      let error = try #require(throws: BPFError.self) {
        try object.loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .notFound, "\(error)")
      #expect(object.attachedPrograms == [])
      for name in ["maps", "programs", "links"] {
        #expect(rmdir(directory.appending(name).string) == 0, "\(name) is not empty")
      }
    }
  }

  @Test func nothingChangesIfAProgramCannotBePinned() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try echo()
      try first.loadAndAttach(pinnedIn: directory)
      first.close()
      let pins = BPFPinDirectory(directory)
      let before = try [
        BPFLink(pinnedAt: pins.link("repeat")).info.id,
        BPFLink(pinnedAt: pins.link("repeat")).info.programID,
        BPFMap(pinnedAt: pins.map("echoes")).info.id,
      ]
      // A directory at the path of the link that is to be pinned.
      #expect(mkdir(directory.appending("links").appending("~repeat").string, 0o700) == 0)
      let other = try echo(tgid: 1)
      #expect(throws: BPFError.self) {
        try other.loadAndAttach(pinnedIn: directory, ifDifferent: .replace)
      }
      #expect(other.attachedPrograms == [])
      #expect(try temporaryPins(in: directory) == ["~repeat"])
      #expect(
        try before == [
          BPFLink(pinnedAt: pins.link("repeat")).info.id,
          BPFProgram(pinnedAt: pins.program("repeat")).info.id,
          BPFMap(pinnedAt: pins.map("echoes")).info.id,
        ]
      )
      #expect(rmdir(directory.appending("links").appending("~repeat").string) == 0)
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test func whatAProcessThatWasKilledLeftIsRemoved() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let pins = BPFPinDirectory(directory)
      let killed = try echo(tgid: 1)
      try killed.load()
      try killed.attach()
      for name in ["~echoes", "~old"] { try killed.map("echoes").pin(at: pins.map(name)) }
      try killed.program("repeat").loaded().pin(at: pins.program("~repeat"))
      try killed.program("repeat").link().pin(at: pins.link("~repeat"))
      let description = directory.appending("descriptions").appending("~program_repeat")
      #expect(symlink("1 0 tp_btf/sys_enter", description.string) == 0)
      #expect(try pins.attachedPrograms() == ["repeat"])
      let other = try echo(tgid: 1)
      #expect(try other.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced)
      #expect(try temporaryPins(in: directory) == [])
    }
  }

  /// The pins with temporary names.
  private func temporaryPins(in directory: FilePath) throws -> [String] {
    try ["maps", "programs", "links", "descriptions"].flatMap { name in
      try FileManager.default.contentsOfDirectory(atPath: directory.appending(name).string)
        .filter { $0.hasPrefix("~") }
    }
  }
}

/// A change of an object's type information.
struct TypeChange: Sendable, CustomTestStringConvertible {
  var testDescription: String
  private var old: [UInt8]
  private var new: [UInt8]

  init(_ description: String, _ old: [UInt8], _ new: [UInt8]) {
    testDescription = description
    self.old = old
    self.new = new
  }

  init(_ description: String, word old: UInt32, _ new: UInt32) {
    self.init(
      description,
      withUnsafeBytes(of: old.littleEndian) { [UInt8]($0) },
      withUnsafeBytes(of: new.littleEndian) { [UInt8]($0) }
    )
  }

  func made(in object: [UInt8]) throws -> [UInt8] {
    let places = object.ranges(of: old)
    try #require(places.count == 1, "\(places)")
    return object.replacing(old, with: new)
  }
}
