// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Objects whose maps, programs and links are pinned.
@Suite(.liveKernel, .threadPidfds) struct PinnedLoadingTests {
  @Test(arguments: LiveKernel.backends)
  func aRestartedServiceUsesWhatItPinned(_ backend: BackendKind) throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try echo(allowing: [backend])
      #expect(try first.loadAndAttach(pinnedIn: directory) == .created)
      let storage = try TaskLocalStorage<Echo>(map: first.map("echoes"))
      try storage.withCurrent { $0.said = 7 }
      let id = try first.map("echoes").info.id
      let pins = BPFPinDirectory(directory)
      let link = try BPFLink(pinnedAt: pins.link("repeat")).info.id
      first.close()

      let second = try echo(allowing: [backend])
      #expect(try second.loadAndAttach(pinnedIn: directory) == .reused)
      #expect(try second.map("echoes").info.id == id)
      #expect(second.attachedPrograms == ["repeat"])
      #expect(try BPFLink(pinnedAt: pins.link("repeat")).info.id == link)
      let again = try TaskLocalStorage<Echo>(map: second.map("echoes"))
      #expect(again.backend.kind == backend)
      _ = getppid()
      // One program counted, once.
      #expect(
        try again.withCurrent { [$0.calls, UInt64($0.said), UInt64($0.heard)] } == [1, 7, 7]
      )
      #expect(try pins.attachedPrograms() == ["repeat"])
    }
  }

  @Test func attachingWhatIsPinnedAttachesNothingTwice() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      for outcome in [BPFPinOutcome.created, .reused] {
        let object = try echo()
        #expect(try object.loadAndAttach(pinnedIn: directory) == outcome)
        let storage = try TaskLocalStorage<Echo>(map: object.map("echoes"))
        let link = try BPFLink(pinnedAt: pins.link("repeat")).info.id
        func expectOnce(_ what: String) throws {
          let before = try storage.withCurrent { $0.calls }
          _ = getppid()
          #expect(try storage.withCurrent { $0.calls } == before + 1, "\(outcome): \(what)")
          #expect(object.attachedPrograms == ["repeat"], "\(outcome): \(what)")
          #expect(try object.program("repeat").link().info.id == link, "\(outcome): \(what)")
        }
        try expectOnce("loadAndAttach")
        try object.program("repeat").attach()
        try expectOnce("Program.attach()")
        try object.attach()
        try expectOnce("attach()")
        // The pinned link keeps it attached.
        object.detach()
        try expectOnce("detach()")
        try object.attach()
        try expectOnce("detach() and attach()")
        object.close()
      }
    }
  }

  @Test func programsSurviveALoaderThatIsKilled() async throws {
    try await withBPFFileSystem { root in
      let path = root.appending("service").string
      let tgid = getpid()
      await #expect(processExitsWith: .signal(SIGKILL)) {
        [path = path as String, tgid = tgid as Int32] in
        try echo(tgid: tgid).loadAndAttach(pinnedIn: FilePath(path))
        kill(getpid(), SIGKILL)
      }
      let pins = BPFPinDirectory(FilePath(path))
      let storage = try TaskLocalStorage<Echo>(pinnedAt: pins.map("echoes"))
      try storage.withCurrent { $0.said = 11 }
      _ = getppid()
      #expect(try storage.withCurrent { $0.heard } == 11)

      // A client detects that the programs are no longer attached.
      #expect(try pins.attachedPrograms() == ["repeat"])
      try BPFLink(pinnedAt: pins.link("repeat")).unpin(at: pins.link("repeat"))
      #expect(try pins.attachedPrograms() == [])
      // The kernel detaches a raw tracepoint's link, and frees it after a grace period. A process
      // that another test starts may have the link's descriptor until it calls exec.
      let isDetached = try (0..<10_000).contains { _ in
        let calls = try storage.withCurrent { $0.calls }
        _ = getppid()
        return try storage.withCurrent { $0.calls } == calls
      }
      #expect(isDetached)
    }
  }

  @Test func otherConstantsDoNotFit() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try echo()
      try first.loadAndAttach(pinnedIn: directory)
      first.close()
      let other = try echo(tgid: 1)
      let error = try #require(throws: BPFError.self) {
        try other.loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch)
      #expect(error.details == "program 'repeat': the pinned program has other constants")
      #expect(error.advice.contains("ifDifferent: .replace"))
      let pins = BPFPinDirectory(directory)
      let map = try BPFMap(pinnedAt: pins.map("echoes")).info.id
      let link = try BPFLink(pinnedAt: pins.link("repeat")).info.id

      let replacing = try echo(tgid: 1)
      #expect(
        try replacing.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced
      )
      #expect(try BPFMap(pinnedAt: pins.map("echoes")).info.id == map)
      #expect(try BPFLink(pinnedAt: pins.link("repeat")).info.id != link)
      replacing.close()
      let last = try echo(tgid: 1)
      #expect(try last.loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test func otherCodeDoesNotFit() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try echo()
      try first.loadAndAttach(pinnedIn: directory)
      // The 4 of __sync_fetch_and_or(&echo->bits, 4), in the instruction rX = 4.
      var bytes = BPFObjectImage.echo.bytes
      let places = stride(from: 0, to: bytes.count - 8, by: 8).filter { at in
        [0xb4, 0xb7].contains(bytes[at])
          && bytes[at + 2..<at + 8].elementsEqual([0, 0, 4, 0, 0, 0])
      }
      try #require(places.count == 1)
      bytes[places[0] + 4] = 8
      let other = try BPFObject(bytes: bytes, name: "other")
      try other.setGlobal("target_tgid", to: getpid())
      let error = try #require(throws: BPFError.self) {
        try other.loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch)
      #expect(error.details.contains("program 'repeat': tag "), "\(error)")
    }
  }

  @Test func anotherLayoutIsRefusedWithATable() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let old = try BPFObject(.echoOld)
      try old.loadAndAttach(pinnedIn: directory)
      let new = try echo()
      let error = try #require(throws: BPFError.self) {
        try new.loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch)
      #expect(error.details.contains("map 'echoes': the layouts differ"))
      #expect(error.details.contains("!  said"), "\(error)")
      old.close()
      let replacing = try echo()
      #expect(
        try replacing.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced
      )
      let storage = try TaskLocalStorage<Echo>(
        pinnedAt: BPFPinDirectory(directory).map("echoes")
      )
      try storage.withCurrent { $0.said = 3 }
      _ = getppid()
      #expect(try storage.withCurrent { $0.heard } == 3)
    }
  }

  /// As a broker with only the rights to load programs.
  @Test(arguments: LiveKernel.backends)
  func anotherLayoutIsRefusedWithoutTheRightToReadTypes(_ backend: BackendKind) async throws {
    try await withBPFFileSystem { root in
      let path = root.appending("service").string
      await #expect(processExitsWith: .success) {
        [path = path as String, backend = backend as BackendKind] in
        try #require(test_keep_rights_to_load() == 0)
        let directory = FilePath(path)
        func same(said: Int32 = getpid()) throws -> BPFObject {
          try echo(tgid: said, allowing: [backend])
        }
        #expect(try same().loadAndAttach(pinnedIn: directory) == .created)
        #expect(try same().loadAndAttach(pinnedIn: directory) == .reused)
        let id = try BPFMap(pinnedAt: BPFPinDirectory(directory).map("echoes")).info.id
        let other = try BPFObject(.echoOld, allowing: [backend])
        let error = try #require(throws: BPFError.self) {
          try other.loadAndAttach(pinnedIn: directory)
        }
        #expect(error.kind == .pinMismatch && error.details.contains("map 'echoes': "), "\(error)")
        let replacing = try BPFObject(.echoOld, allowing: [backend])
        #expect(
          try replacing.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced
        )
        let map = try BPFMap(pinnedAt: BPFPinDirectory(directory).map("echoes"))
        #expect(try map.info.id != id)
        try BPFPinDirectory(directory).remove()
      }
    }
  }

  @Test func aMissingPinIsMadeAgain() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let pins = BPFPinDirectory(directory)
      let map = try BPFMap(pinnedAt: pins.map("echoes")).info.id
      for path in [pins.link("repeat"), pins.program("repeat")] {
        unlink(path.string)
        let object = try echo()
        #expect(try object.loadAndAttach(pinnedIn: directory) == .replaced)
        #expect(try BPFMap(pinnedAt: pins.map("echoes")).info.id == map)
        #expect(try pins.attachedPrograms() == ["repeat"])
      }
      // The attached program uses a map that is no longer pinned.
      unlink(pins.map("echoes").string)
      let error = #expect(throws: BPFError.self) { try echo().loadAndAttach(pinnedIn: directory) }
      #expect(error?.kind == .pinMismatch, "\(String(describing: error))")
      #expect(try echo().loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced)
      #expect(
        try BPFProgram(pinnedAt: pins.program("repeat")).info.mapIDs
          .contains(BPFMap(pinnedAt: pins.map("echoes")).info.id)
      )
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test(arguments: ["", "1 0 tp_btf/sys_exit"])
  func aProgramWithoutItsDescriptionIsMadeAgain(_ description: String) throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let path = directory.appending("descriptions").appending("program_repeat").string
      #expect(unlink(path) == 0)
      // The pin of another program, whose id is not reused.
      if !description.isEmpty { #expect(symlink(description, path) == 0) }
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .replaced)
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test func variablesWithoutTheirDescriptionDoNotFit() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try BPFObject(.taskCounters).loadAndAttach(pinnedIn: directory)
      let descriptions = directory.appending("descriptions")
      for name in try FileManager.default.contentsOfDirectory(atPath: descriptions.string)
      where name.hasPrefix("map_") {
        #expect(unlink(descriptions.appending(name).string) == 0)
      }
      let error = try #require(throws: BPFError.self) {
        try BPFObject(.taskCounters).loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch && error.details.contains("other variables"), "\(error)")
      #expect(
        try BPFObject(.taskCounters).loadAndAttach(pinnedIn: directory, ifDifferent: .replace)
          == .replaced
      )
      #expect(try BPFObject(.taskCounters).loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test func aLinkOfAnotherProgramIsMadeAgain() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let pins = BPFPinDirectory(directory)
      let other = try echo(tgid: 1)
      try other.load()
      try other.attach()
      unlink(pins.link("repeat").string)
      try other.program("repeat").link().pin(at: pins.link("repeat"))
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .replaced)
      #expect(
        try BPFLink(pinnedAt: pins.link("repeat")).info.programID
          != other.program("repeat").loaded().info.id
      )
    }
  }

  @Test func programsThatTheObjectHasNotAreDetachedOnRequest() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let withoutOne = {
        let object = try BPFObject(.systemCalls)
        try object.program("use_values").setAutoload(false)
        return object
      }
      let old = try BPFObject(.systemCalls)
      try old.loadAndAttach(pinnedIn: directory)
      old.close()
      let pins = BPFPinDirectory(directory)
      #expect(try pins.attachedPrograms() == ["record", "use_values"])
      let refused = try withoutOne()
      let error = try #require(throws: BPFError.self) {
        try refused.loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .pinMismatch)
      #expect(
        error.details
          == "program 'use_values': it is pinned, and the object attaches no such program"
      )
      #expect(try pins.attachedPrograms() == ["record", "use_values"])
      let new = try withoutOne()
      #expect(try new.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced)
      #expect(try pins.attachedPrograms() == ["record"])
    }
  }

  @Test func mapsThatTheObjectHasNotAreRemovedOnRequest() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      func pinnedMaps() throws -> [String] {
        try FileManager.default.contentsOfDirectory(atPath: pins.path.appending("maps").string)
          .sorted()
      }
      func counts(_ name: String) throws -> BPFObject {
        let object = try BPFObject(bytes: BPFObjectImage.pinCounts.bytes, name: name)
        try object.setGlobal("target_tgid", to: getpid())
        return object
      }
      let old = try counts("old")
      try old.loadAndAttach(pinnedIn: directory)
      try old.map("left").pin(at: pins.map("other"))
      old.close()
      // The maps of global variables have the name of the object's file.
      let before = try pinnedMaps()
      #expect(before == ["left", "old_bss", "old_rodata", "other", "right"])
      #expect(throws: BPFError.self) { try counts("new").loadAndAttach(pinnedIn: directory) }
      #expect(try pinnedMaps() == before)

      let new = try counts("new")
      #expect(try new.loadAndAttach(pinnedIn: directory, ifDifferent: .replace) == .replaced)
      #expect(try pinnedMaps() == ["left", "new_bss", "new_rodata", "other", "right"])
      new.close()
      unlink(pins.map("other").string)
      try pins.remove()
      #expect(!FileManager.default.fileExists(atPath: directory.string))
    }
  }

  @Test func globalVariablesKeepTheirValues() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let first = try BPFObject(.taskCounters)
      try first.loadAndAttach(pinnedIn: directory)
      try first.setGlobal("total", to: UInt64(99))
      first.close()
      let second = try BPFObject(.taskCounters)
      #expect(try second.loadAndAttach(pinnedIn: directory) == .reused)
      #expect(try second.global("total", as: UInt64.self) == 99)
    }
  }

  @Test func servicesThatStartAtTheSameTime() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let outcomes = Box<[BPFPinOutcome]>([])
      let threads = try (0..<4).map { _ in
        try TestThread {
          let outcome = try echo().loadAndAttach(pinnedIn: directory)
          outcomes.change { $0.append(outcome) }
        }
      }
      for thread in threads { try thread.join() }
      let made = outcomes.get()
      #expect(made.count { $0 == .created } == 1 && made.count { $0 == .reused } == 3, "\(made)")
    }
  }

  @Test func onlyTheGroupOfTheMapsMayOpenThem() async throws {
    try await withBPFFileSystem { root in
      let group: UInt32 = 65534
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory, attributes: .group(group, readOnly: true))
      let pins = BPFPinDirectory(directory)
      #expect(try mode(pins.map("echoes")) == [0o640, 0, group])
      // The constants belong to the programs.
      #expect(try mode(pins.map("echo.rodata")) == [0o600, 0, 0])
      #expect(try mode(pins.link("repeat")) == [0o600, 0, 0])
      #expect(try mode(directory) == [0o710, 0, group])
      let path = directory.string
      await #expect(processExitsWith: .success) { [path = path as String] in
        #expect(test_drop_rights() == 0)  // user and group 65534
        let pins = BPFPinDirectory(FilePath(path))
        let map = try BPFMap(pinnedAt: pins.map("echoes"), readOnly: true)
        #expect(try map.info.isWritable == false)
        let error = #expect(throws: BPFError.self) { try BPFMap(pinnedAt: pins.map("echoes")) }
        #expect(error?.kind == .permissionDenied)
        #expect(throws: BPFError.self) { try BPFLink(pinnedAt: pins.link("repeat")) }
        #expect(throws: BPFError.self) { try BPFProgram(pinnedAt: pins.program("repeat")) }
        #expect(try pins.attachedPrograms() == ["repeat"])
      }
      // The caller's attributes also apply to existing pins.
      try echo().loadAndAttach(pinnedIn: directory)
      #expect(try mode(pins.map("echoes")) == [0o600, 0, getegid()])
      #expect(try mode(directory) == [0o700, 0, getegid()])
      await #expect(processExitsWith: .success) { [path = path as String] in
        #expect(test_drop_rights() == 0)
        let pins = BPFPinDirectory(FilePath(path))
        let error = #expect(throws: BPFError.self) {
          try BPFMap(pinnedAt: pins.map("echoes"), readOnly: true)
        }
        #expect(error?.kind == .permissionDenied)
        #expect(error?.advice.contains("may not enter '\(path)'") == true)
      }
    }
  }

  @Test func theFileSystemIsMountedWhereThereIsNone() async {
    await #expect(processExitsWith: .success) {
      try #require(test_leave_bpffs() == 0)
      #expect(!BPFFileSystem.contains("/sys/fs/bpf"))
      let opening = #expect(throws: BPFError.self) { try BPFMap(pinnedAt: "/sys/fs/bpf/x") }
      #expect(opening?.advice.contains("mount -t bpf bpf /sys/fs/bpf") == true)

      let object = try echo()
      #expect(seteuid(65534) == 0)
      let refused = #expect(throws: BPFError.self) {
        try BPFFileSystem.createDirectory("/sys/fs/bpf/service")
      }
      #expect(seteuid(0) == 0)
      #expect(refused?.kind == .permissionDenied)
      #expect(refused?.advice.contains("mount -t bpf bpf /sys/fs/bpf") == true)
      #expect(refused?.advice.contains("create the directory") == false)

      try object.loadAndAttach(pinnedIn: "/sys/fs/bpf/service")
      #expect(BPFFileSystem.contains("/sys/fs/bpf"))
      try object.map("echoes").pin(at: "/sys/fs/bpf/alone")
      #expect(try BPFMap(pinnedAt: "/sys/fs/bpf/alone").info.id == object.map("echoes").info.id)
    }
  }

  @Test func theFileSystemIsMountedOnce() async {
    await #expect(processExitsWith: .success) {
      for _ in 0..<100 {
        try #require(test_leave_bpffs() == 0)
        let ready = Box(0)
        let threads = try (0..<4).map { number in
          try TestThread {
            ready.change { $0 += 1 }
            while ready.get() < 4 { sched_yield() }
            try BPFFileSystem.createDirectory(FilePath("/sys/fs/bpf/service\(number)"))
          }
        }
        for thread in threads { try thread.join() }
        let file = try FileDescriptor.open("/proc/thread-self/mountinfo", .readOnly)
        defer { try? file.close() }
        let lines = String(decoding: try file.readToEnd(), as: UTF8.self).split(separator: "\n")
        #expect(lines.count { $0.split(separator: " ")[4] == "/sys/fs/bpf" } == 1)
        for number in 0..<4 { #expect(access("/sys/fs/bpf/service\(number)", F_OK) == 0) }
      }
    }
  }

  @Test func aLinkKeepsItsProgramAttached() throws {
    let object = try echo()
    try object.load()
    let early = #expect(throws: BPFError.self) { try object.program("repeat").link() }
    #expect(early?.kind == .wrongState)
    try object.attach()
    let storage = try TaskLocalStorage<Echo>(map: object.map("echoes"))
    try storage.withCurrent { $0.said = 5 }
    let link = try object.program("repeat").link()
    #expect(try link.info.programID == object.program("repeat").loaded().info.id)
    object.close()
    _ = getppid()
    #expect(try storage.withCurrent { $0.heard } == 5)
    withExtendedLifetime(link) {}
  }
}

/// echo.bpf.c for a process, not loaded.
func echo(
  tgid: Int32 = getpid(),
  allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
) throws -> BPFObject {
  let object = try BPFObject(.echo, allowing: backends)
  try object.setGlobal("target_tgid", to: tgid)
  return object
}

/// Permissions, owner and group.
func mode(_ path: FilePath) throws -> [UInt32] {
  var info = stat()
  guard stat(path.string, &info) == 0 else { throw Errno(rawValue: errno) }
  return [info.st_mode & 0o7777, info.st_uid, info.st_gid]
}
