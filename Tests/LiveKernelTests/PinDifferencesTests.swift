// SPDX-License-Identifier: Apache-2.0
import Glibc
import LibBPF
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Objects that differ from what is pinned although the kernel's tags are the same.
@Suite(.liveKernel) struct PinDifferencesTests {
  /// A variant of pin-counts.h, under the name that all have in common.
  private func counts(_ image: BPFObjectImage) throws -> BPFObject {
    let object = try BPFObject(bytes: image.bytes, name: "counts")
    try object.setGlobal("target_tgid", to: getpid())
    return object
  }

  /// Loads a variant where another one is pinned.
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
      let tags = try ["count_calls", "count_bytes"].map { try first.program($0).info.tag }
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
      #expect(try ["count_calls", "count_bytes"].map { try other.program($0).info.tag } == tags)
      try check(other)
      other.close()
      #expect(try counts(image).loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  private func expectCounts(_ object: BPFObject) throws {
    for _ in 0..<10 { _ = getppid() }
    // Other threads of this process make system calls, too, so the two are not equal.
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
}
