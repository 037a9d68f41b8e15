// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct PinningTests {
  @Test func aPinnedMapIsTheSameMap() throws {
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      let object = try loadedCounters()
      let map = try object.map("task_counters")
      try map.pin(at: path)
      let opened = try BPFMap(pinnedAt: path)
      #expect(try opened.info.id == map.info.id)
      #expect(opened.name == "task_counters")
      #expect(try opened.valueLayout() == object.layout(ofMap: "task_counters"))
      try opened.unpin(at: path)
      #expect(throws: BPFError.self) { try BPFMap(pinnedAt: path) }
    }
  }

  @Test func aPinnedMapOutlivesAllDescriptors() throws {
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      let id = try {
        let map = try loadedCounters().map("by_number")
        try map.pin(at: path)
        return try map.info.id
      }()
      #expect(try BPFMap(pinnedAt: path).info.id == id)
    }
  }

  @Test func readOnly() throws {
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      try loadedCounters().map("by_number").pin(at: path)
      #expect(try BPFMap(pinnedAt: path, readOnly: true).info.isWritable == false)
      #expect(try BPFMap(pinnedAt: path).info.isWritable)
    }
  }

  @Test func aPathThatIsTaken() throws {
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      let map = try loadedCounters().map("by_number")
      try map.pin(at: path)
      let error = try #require(throws: BPFError.self) { try map.pin(at: path) }
      #expect(error.kind == .invalidArgument && error.errno == .fileExists)
      #expect(error.object == "path '\(path)'")
    }
  }

  @Test func placesWhereNothingCanBePinned() throws {
    let map = try loadedCounters().map("by_number")
    try withTemporaryDirectory { directory in
      let error = try #require(throws: BPFError.self) {
        try map.pin(at: directory.appending("x"))
      }
      #expect(error.kind == .invalidArgument && error.advice.contains("mount -t bpf"), "\(error)")
    }
    try withBPFFileSystem { directory in
      let missing = try #require(throws: BPFError.self) {
        try map.pin(at: directory.appending("no").appending("x"))
      }
      #expect(missing.kind == .notFound && missing.advice.contains("create the directory"))
      let dotted = try #require(throws: BPFError.self) {
        try map.pin(at: directory.appending("x.y"))
      }
      #expect(dotted.kind == .invalidArgument && dotted.advice.contains("dot"), "\(dotted)")
    }
  }

  @Test func pathsBelowAPin() throws {
    try withBPFFileSystem { root in
      let pin = root.appending("counters")
      let map = try loadedCounters().map("by_number")
      try map.pin(at: pin)
      let attempts: [() throws -> Void] = [
        { try map.pin(at: pin.appending("x")) },
        { try BPFFileSystem.createDirectory(pin.appending("x")) },
        { try echo().loadAndAttach(pinnedIn: pin.appending("x")) },
        { _ = try BPFMap(pinnedAt: pin.appending("x")) },
      ]
      for attempt in attempts {
        let error = try #require(throws: BPFError.self) { try attempt() }
        #expect(error.errno == .notDirectory && error.advice == "'\(pin)' is not a directory")
      }
    }
  }

  @Test func namesWithADot() throws {
    try withBPFFileSystem { root in
      let dotted = root.appending("x.y")
      let object = try loadedCounters()
      let attempts: [() throws -> Void] = [
        { try object.map("by_number").pin(at: dotted) },
        { try object.map("by_number").pin(at: dotted.appending("map")) },
        { try BPFFileSystem.createDirectory(dotted) },
        { try echo().loadAndAttach(pinnedIn: dotted) },
        { _ = try BPFMap(pinnedAt: dotted) },
        { _ = try BPFMap(pinnedAt: BPFPinDirectory(dotted).map("map")) },
        { _ = try BPFLink(pinnedAt: dotted) },
      ]
      for attempt in attempts {
        let error = try #require(throws: BPFError.self) { try attempt() }
        #expect(error.kind == .invalidArgument && error.advice.contains("dot"), "\(error)")
      }
    }
  }

  @Test func pathsWhereNoMapIsPinned() async {
    await #expect(processExitsWith: .success) {
      let object = try loadedCounters()
      try withBPFFileSystem { directory in
        let missing = try #require(throws: BPFError.self) {
          try BPFMap(pinnedAt: directory.appending("x"))
        }
        #expect(missing.kind == .notFound && missing.advice == "nothing is pinned there")

        let inside = directory.appending("inside")
        mkdir(inside.string, 0o700)
        let folder = try #require(throws: BPFError.self) { try BPFMap(pinnedAt: inside) }
        #expect(folder.advice.contains("directory"), "\(folder)")

        let program = directory.appending("program")
        try object.program("count_calls").loaded().pin(at: program)
        let before = try descriptors().count
        let wrong = try #require(throws: BPFError.self) { try BPFMap(pinnedAt: program) }
        #expect(wrong.kind == .wrongType && wrong.advice == "it is a BPF program, not a map")
        let link = try #require(throws: BPFError.self) { try BPFLink(pinnedAt: program) }
        #expect(link.kind == .wrongType && link.advice.contains("not a BPF link"), "\(link)")
        #expect(try descriptors().count == before)
        let map = directory.appending("map")
        try object.map("by_number").pin(at: map)
        let info = try #require(throws: BPFError.self) { try BPFProgram(pinnedAt: map).info }
        #expect(info.kind == .wrongType && info.advice.contains("not a BPF program"), "\(info)")
      }
      try withTemporaryDirectory { directory in
        let path = directory.appending("file")
        try Data().write(to: URL(filePath: path.string))
        let error = try #require(throws: BPFError.self) { try BPFMap(pinnedAt: path) }
        #expect(error.kind == .wrongType && error.advice.contains("not on a BPF file system"))
      }
      withExtendedLifetime(object) {}
    }
  }

  @Test func outOfDescriptors() async {
    await #expect(processExitsWith: .success) {
      let map = try loadedCounters().map("by_number")
      let id = try map.info.id
      try withBPFFileSystem { directory in
        let pins = BPFPinDirectory(directory.appending("service"))
        try echo().loadAndAttach(pinnedIn: pins.path)
        let attempts: [() throws -> Void] = [
          { _ = try BPFMap(id: id) },
          { _ = try pins.attachedPrograms() },
          { try pins.remove() },
          { _ = try BPFMap(pinnedAt: pins.map("echoes")) },
        ]
        var limit = rlimit()
        let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
        getrlimit(resource, &limit)
        var lower = limit
        lower.rlim_cur = 3
        setrlimit(resource, &lower)
        defer { setrlimit(resource, &limit) }
        for attempt in attempts {
          let error = try #require(throws: BPFError.self) { try attempt() }
          #expect(
            error.kind == .outOfResources
              && error.advice == "raise the descriptor limit (RLIMIT_NOFILE), or close descriptors",
            "\(error)"
          )
        }
      }
      withExtendedLifetime(map) {}
    }
  }

  @Test func onlyItsOwnPathIsUnpinned() throws {
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      let object = try loadedCounters()
      let map = try object.map("by_number")
      try map.pin(at: path)
      let error = try #require(throws: BPFError.self) {
        try object.map("task_counters").unpin(at: path)
      }
      #expect(error.kind == .wrongType && error.advice.contains("another map"))
      #expect(throws: Never.self) { try BPFMap(pinnedAt: path) }
      try map.unpin(at: path)
      let again = try #require(throws: BPFError.self) { try map.unpin(at: path) }
      #expect(again.kind == .notFound)
      let programs = try [object, loadedCounters()].map { try $0.program("count_calls") }
      for program in programs { try program.attach() }
      try programs[0].link().pin(at: path)
      let other = try #require(throws: BPFError.self) { try programs[1].link().unpin(at: path) }
      #expect(other.kind == .wrongType && other.advice.contains("another link"), "\(other)")
      try programs[0].link().unpin(at: path)
      for program in programs { program.detach() }
    }
  }

  @Test func aPinWhoseAttributesAreRefusedIsRemoved() async {
    await #expect(processExitsWith: .success) {
      let map = try loadedCounters().map("by_number")
      try withBPFFileSystem { directory in
        let path = directory.appending("counters")
        #expect(chmod(directory.string, 0o777) == 0 && seteuid(65534) == 0)
        let error = #expect(throws: BPFError.self) {
          try map.pin(at: path, attributes: BPFPinAttributes(owner: 0))
        }
        #expect(error?.advice.contains("CAP_CHOWN") == true, "\(String(describing: error))")
        #expect(seteuid(0) == 0 && access(path.string, F_OK) != 0)
      }
    }
  }

  /// chown(2) does not change an owner or a group of -1.
  @Test(arguments: [BPFPinAttributes(owner: .max), .group(.max)])
  func minusOneIsNoOwner(attributes: BPFPinAttributes) throws {
    let map = try loadedCounters().map("by_number")
    try withBPFFileSystem { directory in
      let path = directory.appending("counters")
      let error = #expect(throws: BPFError.self) { try map.pin(at: path, attributes: attributes) }
      #expect(error?.kind == .invalidArgument, "\(String(describing: error))")
      #expect(access(path.string, F_OK) != 0)
    }
  }

  @Test func namesDoNotLeaveTheDirectory() {
    let pins = BPFPinDirectory("/sys/fs/bpf/service")
    for path in [pins.map("../../other"), pins.program("../../other"), pins.link("../../other")] {
      #expect(path.lastComponent == "______other", "\(path)")
    }
  }
}

/// Runs the body with a new BPF file system.
func withBPFFileSystem(_ body: (FilePath) throws -> Void) throws {
  try withTemporaryDirectory { directory in
    guard mount("bpf", directory.string, "bpf", 0, "mode=0755") == 0 else {
      throw Errno(rawValue: errno)
    }
    defer { umount2(directory.string, CInt(MNT_DETACH)) }
    try body(directory)
  }
}

/// The same for an asynchronous body.
func withBPFFileSystem(_ body: (FilePath) async throws -> Void) async throws {
  let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: directory) }
  guard mount("bpf", directory.path, "bpf", 0, "mode=0755") == 0 else {
    throw Errno(rawValue: errno)
  }
  defer { umount2(directory.path, CInt(MNT_DETACH)) }
  try await body(FilePath(directory.path))
}
