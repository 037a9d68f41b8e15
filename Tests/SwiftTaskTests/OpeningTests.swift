// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import LibBPF
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Errors of opening a storage.
@Suite(.liveKernel) struct OpeningTests {
  @Test(arguments: [(8, 0, 0), (-8, 0, 0), (0, 8, 0), (0, 0, 8), (1 << 40, 0, 0), (0, 1 << 30, 0)])
  func wrongOffsetsAreNoticed(_ shift: (word: Int, bindings: Int, tag: Int)) async throws {
    let program = try RequestProgram()
    let error = await #expect(throws: BPFError.self) {
      try await SwiftTaskStorage<Request>(
        program.object,
        "requests",
        shiftingTaskWord: Int64(shift.word),
        bindings: UInt32(shift.bindings),
        tag: UInt32(shift.tag)
      )
    }
    #expect(error?.kind == .unsupported)
    #expect(error?.advice.contains("verifying what the program finds in a scope") == true)
    #expect(error?.object.contains("Swift runtime with layout version") == true)
    // The failed attempt leaves no resources.
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    requests.withValue({ $0.id = 1 }) { program.call(1, row: 0) }
    #expect(try program.seen()[0] == Seen(own: 1))
  }

  @Test func descriptorsThatRunOutSayNothingOfTheRuntime() async {
    await #expect(processExitsWith: .success) {
      let program = try RequestProgram()
      // Resources that the process opens once are open.
      _ = try await SwiftTaskStorage<Request>(program.object, "requests")
      var limit = rlimit()
      try #require(getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
      let usual = limit.rlim_cur
      var failures = 0
      for more in 0..<40 {
        let next = try FileDescriptor.open("/dev/null", .readOnly)
        try next.close()
        limit.rlim_cur = rlim_t(Int(next.rawValue) + more)
        try #require(setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0)
        defer {
          limit.rlim_cur = usual
          setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
        }
        do throws(BPFError) {
          _ = try await SwiftTaskStorage<Request>(program.object, "requests")
          break
        } catch {
          failures += 1
          #expect(
            error.kind == .outOfResources && error.advice.contains("RLIMIT_NOFILE"),
            "\(error)"
          )
        }
      }
      #expect((1..<40).contains(failures))
    }
  }

  @Test(arguments: ["failures", "misses"])
  func whatFailsForAMomentIsTriedAgain(_ count: String) async throws {
    let object = try BPFObject(.momentaryFailures)
    try object.load()
    try object.setGlobal(count, to: UInt32(12))
    let storage = try await SwiftTaskStorage<Request>(object, "late")
    #expect(storage.withValue({ $0.id = 1 }) { 2 }.snapshot?.id == 1)
    #expect(try object.global(count, as: UInt32.self) == 0)
  }

  @Test func aLayoutThatIsNotTheMaps() async throws {
    struct Wrong: MapValue {
      var id: UInt64
      var calls: UInt32
      var kind: UInt32
    }
    let program = try RequestProgram()
    let error = await #expect(throws: BPFError.self) {
      try await SwiftTaskStorage<Wrong>(program.object, "requests")
    }
    #expect(error?.kind == .layoutMismatch)
    #expect(error?.details.contains("calls") == true)
  }

  @Test func aTypeWithoutTheLastFields() async throws {
    struct Older: MapValue {
      var id: UInt64
      var calls: UInt64
    }
    let program = try RequestProgram()
    let exact = await #expect(throws: BPFError.self) {
      try await SwiftTaskStorage<Older>(program.object, "requests")
    }
    #expect(exact?.kind == .layoutMismatch)
    let older = try await SwiftTaskStorage<Older>(program.object, "requests", policy: .compatible)
    let (_, snapshot) = older.withValue({ $0.id = 5 }) {
      for _ in 0..<10 { program.call(5, row: 0) }
    }
    #expect(snapshot?.id == 5)
    #expect(try program.hasSeen(snapshot?.calls ?? 0, of: 10))
    // Fields that the older type does not have are zero in the next scope of the slot.
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    requests.withValue({ $0.flags = 1 }) {}
    older.withValue({ $0.id = 6 }) {
      #expect(requests.withCurrent { $0.flags } == 0)
    }
  }

  @Test func aMapOfAnotherKind() async throws {
    let program = try RequestProgram()
    for name in ["plain", "entered", "requests_processes"] {
      let error = await #expect(throws: BPFError.self) {
        try await SwiftTaskStorage<Request>(program.object, name)
      }
      #expect(error?.kind == .wrongType)
      #expect(error?.advice.contains("SWIFT_TASK_STORAGE") == true)
    }
    let error = await #expect(throws: BPFError.self) {
      try await SwiftTaskStorage<Request>(program.object, "nowhere")
    }
    #expect(error?.kind == .notFound)
  }

  @Test func anObjectThatIsNotLoaded() async throws {
    let object = try BPFObject(.requests)
    let error = await #expect(throws: BPFError.self) {
      try await SwiftTaskStorage<Request>(object, "requests")
    }
    #expect(error?.kind == .wrongState)
  }

  @Test func theProgramOfAnotherStorage() async throws {
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests", "others"]) { directory in
      let others = try openProgram(directory.appending("others_control"))
      defer { try? others.close() }
      let error = await #expect(throws: BPFError.self) {
        try await SwiftTaskStorage<Request>(
          map: try program.object.map("requests"),
          control: others
        )
      }
      #expect(error?.kind == .wrongType)
      // A descriptor of another kind.
      let map = try program.object.map("others").duplicateDescriptor()
      defer { try? map.close() }
      let other = await #expect(throws: BPFError.self) {
        try await SwiftTaskStorage<Request>(map: try program.object.map("requests"), control: map)
      }
      #expect(other?.kind == .wrongType)
    }
  }

  /// Runs in a separate process, because a lock that stays held would block all other tests.
  @Test func aProgramThatRegistersNobody() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let program = try RequestProgram()
      try await withPins(of: program.object, ["requests"]) { directory in
        let path = directory.appending("refusing_control")
        try program.object.program("refusing_control").loaded().pin(at: path)
        let refusing = try openProgram(path)
        defer { try? refusing.close() }
        let error = await #expect(throws: BPFError.self) {
          try await SwiftTaskStorage<Request>(
            map: try program.object.map("requests"),
            control: refusing
          )
        }
        #expect(error?.kind == .outOfResources)
      }
      let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
      requests.withValue({ $0.id = 1 }) { program.call(1, row: 0) }
      #expect(try program.seen()[0] == Seen(own: 1))
    }
  }

  @Test func theEndOfAStorageKeepsALaterRegistration() async {
    await #expect(processExitsWith: .success) {
      alarm(120)
      let program = try RequestProgram()
      let before = Set(mappedSlots())
      let last = Box<SwiftTaskStorage<Request>?>(
        try await SwiftTaskStorage(program.object, "requests")
      )
      let own = try #require(Set(mappedSlots()).subtracting(before).first)
      // Stops the end of the storage, which frees its slots before it ends the registration.
      test_stop_access(UnsafeMutableRawPointer(bitPattern: own), 256 * 64)
      let ending = try TestThread { last.set(nil) }
      test_await_access()
      let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
      test_resume_access()
      try ending.join()
      requests.withValue({ $0.id = 1 }) { program.call(1, row: 1) }
      #expect(try program.seen()[1] == Seen(own: 1))
    }
  }

  @Test func theRuntimeIsKnown() {
    #expect(SwiftRuntime.current.layoutVersion != nil)
    #expect(!SwiftRuntime.current.path.isEmpty)
  }
}

/// The addresses of the mappings of 256 slots.
private func mappedSlots() -> [UInt] {
  let lines = readText("/proc/self/maps")?.split(separator: "\n") ?? []
  return lines.filter { $0.hasSuffix("bpf-map") }.compactMap { line in
    let ends = line.prefix { $0 != " " }.split(separator: "-").compactMap { UInt($0, radix: 16) }
    return ends.count == 2 && ends[1] - ends[0] == 256 * 64 ? ends[0] : nil
  }
}
