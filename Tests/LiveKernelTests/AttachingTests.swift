// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct AttachingTests {
  @Test func detachingStopsTheProgram() throws {
    let object = try loadedCounters()
    try object.program("count_calls").attach()
    try object.program("count_calls").detach()
    try object.program("count_calls").detach()
    try expectStopped(object)
    try object.program("count_calls").attach()
    #expect(object.attachedPrograms == ["count_calls"])
    try expectRunning(object)
    object.detach()
    object.detach()
    try expectStopped(object)
  }

  @Test func attachingAgainAttachesNothingTwice() throws {
    let object = try loadedCounters()
    try object.attach()
    try object.attach()
    try object.program("count_calls").attach()
    let before = try object.global("seen", as: UInt32.self)
    for _ in 0..<10 { _ = getppid() }
    let seen = try object.global("seen", as: UInt32.self) - before
    #expect(seen < 20, "the program runs \(seen) times for 10 calls")
    object.detach()
  }

  /// In release mode, an object is released after its last use. Everything taken from it must keep
  /// its programs attached.
  @Test func aMapKeepsTheProgramsAttached() async {
    await #expect(processExitsWith: .success) {
      weak var weakObject: BPFObject?
      func attached() throws -> BPFMap {
        let object = try loadedCounters()
        weakObject = object
        try object.attach()
        return try object.map("task_counters")
      }
      var map: BPFMap? = try attached()
      #expect(try descriptors("bpf_link").count == 1)
      #expect(map?.object === weakObject)
      map = nil
      #expect(weakObject == nil)
      #expect(try descriptors("bpf_link").isEmpty)
    }
  }

  @Test func aStorageKeepsTheProgramsAttached() async {
    await #expect(processExitsWith: .success) {
      func attached() throws -> TaskLocalStorage<Echo> {
        let program = try EchoProgram()
        return try program.storage()
      }
      var storage: TaskLocalStorage<Echo>? = try attached()
      #expect(try descriptors("bpf_link").count == 1)
      _ = try storage?.withCurrent { $0.calls }
      storage = nil
      #expect(try descriptors("bpf_link").isEmpty)
    }
  }

  @Test func closingDetaches() async {
    // Runs in a separate process, because other tests also attach programs.
    await #expect(processExitsWith: .success) {
      let object = try loadedCounters()
      let map = try object.map(".bss")
      try object.program("count_calls").attach()
      object.close()
      #expect(try descriptors("bpf_link").isEmpty && descriptors("bpf-prog").isEmpty)
      object.detach()
      #expect(try map.info.type == .array)
    }
  }

  /// The child's calls must neither trap nor wait for threads that do not exist there.
  @Test func forkWhileOtherThreadsCallObjects() async {
    await #expect(processExitsWith: .success) {
      let object = try loadedCounters()
      try object.attach()
      // The Swift runtime creates metadata at first use, with a lock held that is not released in a
      // child. So everything is used before the first fork.
      let useObject = {
        _ = try object.global("seen", as: UInt32.self)
        _ = try object.map("by_number").info
      }
      try useObject()
      let threads = try (0..<3).map { _ in
        try TestThread {
          for _ in 0..<2_000 {
            _ = try object.global("seen", as: UInt32.self)
            _ = try object.map("by_number")
          }
        }
      }
      for _ in 0..<100 {
        let child = test_fork()
        if child == 0 {
          do { try useObject() } catch { _exit(1) }
          _exit(0)
        }
        var status: Int32 = 0
        #expect(waitpid(child, &status, 0) == child && status == 0)
      }
      for thread in threads { try thread.join() }
    }
  }

  @Test func aProgramWithoutAHook() throws {
    let object = try loadedCounters()
    let error = try #require(throws: BPFError.self) {
      try object.program("add_number").attach()
    }
    #expect(error.kind == .invalidArgument && error.advice.contains("'syscall'"))
  }

  @Test func anUnknownProgram() throws {
    for object in [try BPFObject(.taskCounters), try loadedCounters()] {
      let error = try #require(throws: BPFError.self) { try object.program("count") }
      #expect(error.kind == .notFound && error.advice.contains("count_calls, add_number"))
    }
  }

  /// libbpf finds trace events by their files.
  @Test(arguments: [false, true])
  func traceEventsNeedTracefs(isMounted: Bool) async {
    await #expect(processExitsWith: .success) { [isMounted] in
      #expect(test_leave_bpffs() == 0)  // a mount namespace of its own
      for directory in ["/sys/kernel/debug", "/sys/kernel/tracing"] {
        try #require(mount("tmpfs", directory, "tmpfs", 0, nil) == 0)
      }
      if isMounted {
        try #require(mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, nil) == 0)
      }
      let object = try BPFObject(.misspelt)
      try object.program("by_name").setAutoload(true)
      try object.load()
      let error = try #require(throws: BPFError.self) { try object.attach() }
      #expect(error.kind == .notFound, "\(error)")
      #expect(error.advice.contains("mount -t tracefs") == !isMounted, "\(error)")
      #expect(error.advice.contains("does not exist") == isMounted, "\(error)")

      try #require(mount("tmpfs", "/sys/kernel/tracing", "tmpfs", 0, "mode=0700") == 0)
      try #require(seteuid(65534) == 0)
      let denied = try #require(throws: BPFError.self) { try object.attach() }
      #expect(denied.kind == .permissionDenied, "\(denied)")
      #expect(denied.advice.contains("tracefs") && !denied.advice.contains("CAP_BPF"), "\(denied)")
    }
  }

  @Test func aSectionThatLibbpfCannotParse() throws {
    let object = try BPFObject(.misspelt)
    try object.program("without_category").setAutoload(true)
    try object.load()
    let error = try #require(throws: BPFError.self) { try object.attach() }
    #expect(error.kind == .invalidArgument, "\(error)")
    #expect(error.advice.contains("'tracepoint/sys_enter_getppid'"), "\(error)")
  }

  @Test(arguments: [
    ("without_maps", BPFError.Kind.invalidArgument, "<bpf/usdt.bpf.h>"),
    ("without_file", .invalidArgument, "'usdt/provider:name'"),
    ("without_function", .invalidArgument, "'uprobe//proc/self/exe'"),
  ])
  func misspeltProbesOfProcesses(name: String, kind: BPFError.Kind, advice: String) throws {
    let object = try BPFObject(.misspelt)
    try object.program(name).setAutoload(true)
    try object.load()
    let error = try #require(throws: BPFError.self) { try object.attach() }
    #expect(error.kind == kind && error.advice.contains(advice), "\(error)")
  }

  @Test(arguments: [
    ("in_text", BPFError.Kind.wrongType, "is not an executable or a library"),
    ("missing", .notFound, "in this file"),
  ])
  func filesWithoutProbes(name: String, kind: BPFError.Kind, advice: String) throws {
    let object = try BPFObject(.usdt)
    try object.program(name).setAutoload(true)
    try object.load()
    let error = try #require(throws: BPFError.self) { try object.attach() }
    #expect(error.kind == kind && error.advice.contains(advice), "\(error)")
  }

  /// `perf_uprobe_event_init()` in `kernel/events/core.c`; some kernels check CAP_PERFMON there.
  @Test func uprobesNeedMoreRightsThanLoading() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.misspelt)
      try object.program("at_main").setAutoload(true)
      try object.load()
      try #require(test_set_effective_capabilities(0) == 0)
      let error = try #require(throws: BPFError.self) { try object.attach() }
      #expect(error.kind == .permissionDenied && error.advice.contains("CAP_SYS_ADMIN"), "\(error)")
    }
  }

  @Test func allProgramsOrNone() throws {
    let object = try BPFObject(.unattachable)
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    let error = try #require(throws: BPFError.self) { try object.attach() }
    #expect(error.attempt == "attach program 'second'")
    #expect(error.errno != nil && error.details.contains("second"), "\(error)")
    try expectStopped(object)
    try object.program("first").attach()
    try expectRunning(object)
    object.detach()
  }

  private func expectRunning(
    _ object: BPFObject,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    let before = try object.global("seen", as: UInt32.self)
    for _ in 0..<10 { _ = getppid() }
    let after = try object.global("seen", as: UInt32.self)
    #expect(after >= before + 10, sourceLocation: sourceLocation)
  }

  private func expectStopped(
    _ object: BPFObject,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    // A process that another test starts also has the link's descriptor until it calls exec.
    for _ in 0..<10_000 {
      let before = try object.global("seen", as: UInt32.self)
      for _ in 0..<10 { _ = getppid() }
      if try object.global("seen", as: UInt32.self) == before { return }
      sched_yield()
    }
    Issue.record("the program still runs", sourceLocation: sourceLocation)
  }
}

/// Runs `body` while the process has no free descriptor.
func withoutFreeDescriptors(_ body: () throws -> Void) throws {
  var limit = rlimit()
  getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  let free = try FileDescriptor.open("/dev/null", .readOnly)
  try free.close()
  var lower = limit
  lower.rlim_cur = rlim_t(free.rawValue)
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &lower)
  defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
  try body()
}

/// This process' open descriptors, or those whose link in `/proc` contains the word.
///
/// Without a word, omits pidfds and timerfds: the library keeps a pidfd for a thread, threads of
/// other tests may end meanwhile, and libdispatch opens a timerfd at any time.
func descriptors(_ word: String? = nil) throws -> [CInt] {
  try FileManager.default.contentsOfDirectory(atPath: "/proc/self/fd").compactMap { name in
    // The descriptor that the directory was read with is closed, so it has no link.
    let target = try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/fd/\(name)")
    let others = ["pidfd", "[timerfd]"]
    guard let target, word.map(target.contains) ?? !others.contains(where: target.contains) else {
      return nil
    }
    return CInt(name)
  }.sorted()
}
