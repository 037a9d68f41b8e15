// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// One loaded program and several processes.
@Suite(.liveKernel) struct ProcessTests {
  @Test func eachProcessHasItsOwnSlots() async throws {
    let program = try RequestProgram(allProcesses: true)
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try await withPins(of: program.object, ["requests"]) { directory in
      let others = try (1...3).map { number in
        let numbers = [number, number * 1000, 20, Int(program.magic)]
        return try OtherProcess(
          [directory.string, "requests", "serve"] + numbers.map { "\($0)" }
        )
      }
      await withTaskGroup { group in
        for id in UInt64(1)...16 {
          group.addTask {
            for _ in 0..<20 {
              await requests.withValue({ $0.id = id }) {
                for _ in 0..<10 {
                  program.call(id, row: 0)
                  await Task.yield()
                }
              }
            }
          }
        }
      }
      for other in others {
        let (output, status) = try other.end()
        #expect(status == 0)
        #expect(output == "without a slot: 0\n")
      }
    }
    let seen = try program.seen()
    for row in 0...3 {
      #expect(seen[row].none == 0 && seen[row].other == 0, "\(row)")
      #expect(try program.hasSeen(seen[row].own, of: 16 * 20 * 10), "\(row): \(seen[row])")
    }
  }

  @Test func membersOfAGroupMayOpenTheStorage() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"], attributes: .group(65534)) { directory in
      await #expect(processExitsWith: .success) { [path = directory.string as String] in
        let layout = try Requests.open().object.layout(ofMap: "requests")
        #expect(test_drop_rights() == 0)  // user and group 65534
        let requests = try await SwiftTaskStorage<Request>(
          pinnedIn: FilePath(path),
          name: "requests",
          layout: layout
        )
        let (id, _) = requests.withValue({ $0.id = 5 }) { requests.withCurrent { $0.id } }
        #expect(id == 5)
      }
    }
  }

  @Test(arguments: ["exec", "exec-elsewhere"])
  func aProgramThatIsExecutedHasNothingOfTheOldOne(_ mode: String) async throws {
    let program = try RequestProgram(allProcesses: true)
    program.requests.globals.foundByToken = 1
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess(
        [directory.string, "requests", mode, "0", "7", "20", "\(program.magic)"]
      )
      let (output, status) = try other.end()
      #expect(status == 0)
      #expect(output == "without a slot: 0\n")
    }
    #expect(program.requests.globals.token != 0 && program.requests.globals.foundByToken == 0)
    let seen = try program.seen()
    #expect(seen[0] == Seen(own: 1))
    #expect(seen[1].own == 0 && seen[1].other == 0)
    #expect(try program.hasSeen(seen[1].none, of: 20))
    #expect(seen[2].none == 0 && seen[2].other == 0)
    #expect(try program.hasSeen(seen[2].own, of: 16 * 20 * 10), "\(seen[2])")
  }

  /// The memory of the new program is in no scope, even if it has the words of the old one's bindings.
  @Test func theMemoryOfAProgramThatIsExecutedIsNotRead() async throws {
    let program = try RequestProgram(allProcesses: true)
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess(
        [directory.string, "requests", "exec-false-binding", "0", "7", "\(program.magic)"]
      )
      let (output, status) = try other.end()
      #expect(status == 0 && output == "")
    }
    let seen = try program.seen()
    #expect(seen[0] == Seen(own: 1))
    #expect(seen[1] == Seen(none: 1))
  }

  @Test(arguments: [[], ["unshare", "--pid", "--fork", "--mount-proc"]])
  func slotsOfTheProgramBeforeExecAreUsedAgain(_ starter: [String]) async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      // The map has slots for four programs at a time.
      let other = try OtherProcess([directory.string, "requests", "restart", "6"], by: starter)
      let (output, status) = try other.end()
      #expect(status == 0 && output == "without a slot: 0\n")
    }
  }

  @Test func aProcessInAPIDNamespaceOfItsOwn() async throws {
    let program = try RequestProgram(allProcesses: true)
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess(
        [directory.string, "requests", "serve", "1", "1000", "20", "\(program.magic)"],
        by: ["unshare", "--pid", "--fork", "--mount-proc"]
      )
      for _ in 0..<200 {
        await requests.withValue({ $0.id = 1 }) {
          program.call(1, row: 0)
          await Task.yield()
        }
      }
      let (output, status) = try other.end()
      #expect(status == 0)
      #expect(output == "without a slot: 0\n")
    }
    let seen = try program.seen()
    for (row, calls) in [(0, 200), (1, 16 * 20 * 10)] {
      #expect(seen[row].none == 0 && seen[row].other == 0, "\(row)")
      #expect(try program.hasSeen(seen[row].own, of: UInt64(calls)), "\(row): \(seen[row])")
    }
  }

  @Test func slotsOfProcessesThatExitedInPIDNamespacesAreUsedAgain() async throws {
    let program = try RequestProgram(allProcesses: true)
    try await withPins(of: program.object, ["requests"]) { directory in
      // The map has slots for four processes at a time.
      for _ in 0..<6 {
        let other = try OtherProcess(
          [directory.string, "requests", "serve", "1", "1000", "1", "\(program.magic)"],
          by: ["unshare", "--pid", "--fork", "--mount-proc"]
        )
        let (output, status) = try other.end()
        #expect(status == 0 && output == "without a slot: 0\n")
      }
    }
  }

  @Test func slotsOfAProcessThatWasKilledAreUsedAgain() async throws {
    let program = try RequestProgram()
    let few = try await SwiftTaskStorage<Request>(program.object, "requests")
    try await withPins(of: program.object, ["requests"]) { directory in
      // All slots of the map except those of this process.
      let other = try OtherProcess([directory.string, "requests", "hold", "1", "192"])
      #expect(try other.read() == "holds\n")
      let held = await hold(few, 65)
      #expect(held == 64)
      #expect(few.overflowCount == 1)
      try other.kill()
      // Not immediately: searching for slots takes time, so it is not done for each scope without
      // one.
      var tries = 0
      while await hold(few, 65) < 65, tries < 2_000 { tries += 1 }
      #expect(await hold(few, 256) == 256)
    }
  }

  @Test func aLoaderFreesWhatProcessesInPIDNamespacesCannot() async throws {
    let program = try RequestProgram(allProcesses: true)
    try await withPins(of: program.object, ["requests"]) { directory in
      let alive = try OtherProcess([directory.string, "requests", "hold", "2", "64"])
      #expect(try alive.read() == "holds\n")
      let killed = try OtherProcess([directory.string, "requests", "hold", "1", "192"])
      #expect(try killed.read() == "holds\n")
      try killed.kill()
      try program.object.freeSlotsOfExitedProcesses(ofSwiftTaskStorage: "requests")
      let slots = try MappedSlots(program.object.map("requests"))
      defer { slots.deallocateMapping() }
      #expect((0..<256).count { slots[$0].owner == 0 } == 192)
      #expect((0..<256).count { slots[$0].owner >> 32 == UInt64(alive.id) } == 64)
      let other = try OtherProcess(
        [directory.string, "requests", "serve", "1", "1000", "1", "\(program.magic)"],
        by: ["unshare", "--pid", "--fork", "--mount-proc"]
      )
      let (output, status) = try other.end()
      #expect(status == 0 && output == "without a slot: 0\n")
      try alive.kill()
    }
    let error = #expect(throws: BPFError.self) {
      try program.object.freeSlotsOfExitedProcesses(ofSwiftTaskStorage: "plain")
    }
    #expect(error?.kind == .wrongType)
  }

  @Test func slotsOfAZombieAreUsedAgain() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess([directory.string, "requests", "hold", "1", "256"])
      #expect(try other.read() == "holds\n")
      try other.killWithoutReaping()
      // A remaining zombie prevents swift-testing from detecting the end of other processes.
      defer { _ = try? other.end() }
      let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
      #expect(await hold(requests, 256) == 256)
    }
  }

  @Test(.enabled(if: hasNeverBeenSuspended, "the machine was suspended; start times are unknown"))
  func slotsOfAProcessWhoseIDIsUsedAgainAreUsedAgain() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess([directory.string, "requests", "hold", "1", "192"])
      #expect(try other.read() == "holds\n")
      #expect(await hold(requests, 65) == 64)
      // The slots of a process with the same id that started two seconds before or after.
      let slots = try MappedSlots(program.object.map("requests"))
      defer { slots.deallocateMapping() }
      for index in 0..<256 where slots[index].owner >> 32 == UInt64(other.id) {
        slots[index].owner ^= 1 << 31
      }
      var tries = 0
      while await hold(requests, 65) < 65, tries < 2_000 { tries += 1 }
      #expect(await hold(requests, 256) == 256)
      try other.kill()
    }
  }

  /// dispatchMain() ends the first thread.
  @Test func slotsOfAProcessWhoseFirstThreadEndedAreNotTaken() async {
    await #expect(processExitsWith: .success) {
      alarm(120)
      let program = try RequestProgram()
      let child = test_fork()
      if child == 0 {
        _ = try? TestThread { while true { pause() } }
        test_exit_thread()
      }
      defer {
        kill(child, SIGKILL)
        waitpid(child, nil, 0)
      }
      var fields: [Substring] = []
      repeat {
        let file = try FileDescriptor.open(FilePath("/proc/\(child)/stat"), .readOnly)
        let text = try file.closeAfter { String(decoding: try file.readToEnd(), as: UTF8.self) }
        fields = text.split(separator: ")").last?.split(separator: " ") ?? []
      } while fields[0] != "Z"
      let start = try #require(UInt64(fields[19]))
      let tick = UInt64(1_000_000_000 / sysconf(CInt(_SC_CLK_TCK)))
      let owner = UInt64(child) << 32 | UInt64(UInt32(truncatingIfNeeded: start * tick))
      let slots = try MappedSlots(program.object.map("requests"))
      for index in 0..<256 { slots[index].owner = owner }
      let error = await #expect(throws: BPFError.self) {
        try await SwiftTaskStorage<Request>(program.object, "requests")
      }
      #expect(error?.kind == .outOfResources)
      #expect((0..<256).allSatisfy { slots[$0].owner == owner })
    }
  }

  @Test func theEndOfAStorageFreesItsSlots() async throws {
    let program = try RequestProgram()
    let slots = try MappedSlots(program.object.map("requests"))
    defer { slots.deallocateMapping() }
    func own() -> Int { (0..<256).count { slots[$0].owner != 0 } }
    var requests: SwiftTaskStorage<Request>? = try await SwiftTaskStorage(
      program.object,
      "requests"
    )
    #expect(own() > 0)
    withExtendedLifetime(requests) {}
    requests = nil
    // Swift tasks that verified the storage may end later.
    for _ in 0..<100_000 where own() > 0 { await Task.yield() }
    #expect(own() == 0)
  }

  @Test func aStorageIsPinnedAsAWhole() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, []) { directory in
      #expect(mkdir(directory.appending("requests_control").string, 0o700) == 0)
      #expect(throws: BPFError.self) {
        try program.object.pinSwiftTaskStorage("requests", in: directory)
      }
      #expect(access(directory.appending("requests").string, F_OK) != 0)
    }
  }

  @Test func anErrorSaysHowManySlotsAProcessTakes() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess([directory.string, "requests", "hold", "1", "256"])
      #expect(try other.read() == "holds\n")
      let error = await #expect(throws: BPFError.self) {
        try await SwiftTaskStorage<Request>(program.object, "requests")
      }
      #expect(error?.kind == .outOfResources)
      #expect(error?.advice.contains("a process takes 64 at a time") == true)
      try other.kill()
    }
  }

  /// Enters nested scopes and returns the number of those that got a slot.
  private func hold(_ storage: SwiftTaskStorage<Request>, _ count: Int) async -> Int {
    guard count > 0 else { return 0 }
    let (inner, snapshot) = await storage.withValue({ $0.id = 1 }) {
      await hold(storage, count - 1)
    }
    return inner + (snapshot == nil ? 0 : 1)
  }
}

/// Whether the clocks with and without the time of suspend are the same.
private let hasNeverBeenSuspended: Bool = {
  var boot = timespec()
  var monotonic = timespec()
  clock_gettime(CLOCK_MONOTONIC, &monotonic)
  clock_gettime(CLOCK_BOOTTIME, &boot)
  return boot.tv_sec - monotonic.tv_sec < 2
}()

/// The effects of a process that registers false offsets and has false bindings.
@Suite(.liveKernel) struct HostileProcessTests {
  @Test func forgedBindingsReachNobodysSlots() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      let other = try OtherProcess([directory.string, "requests", "hold", "1000", "100"])
      #expect(try other.read() == "holds\n")
      let control = try openProgram(directory.appending("requests_control"))
      defer { try? control.close() }
      let slots = try MappedSlots(program.object.map("requests"))
      defer { slots.deallocateMapping() }
      let bindings = FalseBindings()
      try TestThread {
        bindings.register(control, head: 0, task: 1)
        // The other process has these slots, each with a tag that this one may read.
        var forged = 0
        for index in 0..<256 where slots[index].holder != 0 {
          bindings.bind(slots[index].holder)
          program.call(slots[index].id, row: 1)
          forged += 1
        }
        #expect(forged == 100)
        // Every slot with every small generation, and numbers that are not slots.
        for index in 0..<256 {
          for generation in 1...3 {
            bindings.bind(UInt64(generation) << 24 | UInt64(index))
            program.call(1000, row: 1)
          }
        }
        for _ in 0..<10_000 {
          bindings.bind(.random(in: .min ... .max))
          program.call(1000, row: 1)
        }
        // It finds its own slot, so the bindings were read.
        slots[255] = .init(owner: MappedSlots.owner(control), holder: 7 << 24 | 255, id: 77)
        bindings.bind(7 << 24 | 255)
        program.call(77, row: 2)
      }.join()
      let seen = try program.seen()
      #expect(seen[1] == Seen(none: 100 + 3 * 256 + 10_000))
      #expect(seen[2] == Seen(own: 1))
      try other.kill()
    }
  }

  @Test func aCyclicListOfBindingsEnds() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      let control = try openProgram(directory.appending("requests_control"))
      defer { try? control.close() }
      let bindings = FalseBindings()
      try TestThread {
        bindings.register(control, head: 0, task: 1)
        bindings.words[0] = bindings.address(8)
        for next in [8, 16] as [Int] {
          bindings.words[8] = bindings.address(next)
          bindings.words[16] = bindings.address(8)
          for _ in 0..<1_000 { program.call(1, row: 1) }
        }
        // Links to memory that is not mapped, or not the process's.
        for link in [1, 4096, .max, 0xffff_8880_0000_0000, 0x0000_7fff_ffff_f000, 1 << 63]
          as [UInt64]
        {
          bindings.words[8] = link
          program.call(1, row: 1)
          bindings.words[0] = link
          program.call(1, row: 1)
          bindings.words[0] = bindings.address(8)
        }
      }.join()
      #expect(try program.seen()[1] == Seen(none: 2_012))
    }
  }

  @Test func randomOffsetsAreHarmless() async throws {
    let program = try RequestProgram()
    let seed = UInt64.random(in: .min ... .max)
    try await withPins(of: program.object, ["requests"]) { directory in
      let control = try openProgram(directory.appending("requests_control"))
      defer { try? control.close() }
      try TestThread {
        var state = seed
        func random() -> UInt64 {
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          let bits = state ^ state >> 29
          // Small numbers are valid more often.
          return bits & 3 == 0 ? bits >> 54 : bits & 3 == 1 ? 0 &- bits >> 54 : bits
        }
        for _ in 0..<10_000 {
          FalseBindings.run(control, [3, random(), random(), random(), random(), random()])
          program.call(1, row: 1)
        }
        FalseBindings.run(control, [4, 0, 0, 0, 0, 0])
        program.call(1, row: 1)
      }.join()
      #expect(try program.seen()[1] == Seen(none: 10_001), "seed \(seed)")
    }
  }
}
