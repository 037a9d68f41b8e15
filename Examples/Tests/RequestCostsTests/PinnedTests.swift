// SPDX-License-Identifier: Apache-2.0
import CProcessControl
import Foundation
import Glibc
import MmapStorage
import RequestCosts
import RequestCostsDemo
import SystemPackage
import Testing

/// The information of a server that uses a loader's programs. The tests run in separate processes,
/// because they drop their rights.
@Suite(.liveKernel) struct PinnedTests {
  @Test func aServerWithoutRightsKnowsWhatTheLoaderLeftOut() async {
    await #expect(processExitsWith: .success) {
      try await withPins(without: ["on_sample", "on_page_fault"]) { _, directory in
        let log = TestLog()
        let source = try await CostsSource.pinned(in: directory)
        try await TestServer.run(source, logger: log.logger) { server in
          try await server.load(["/calls/5"], requests: 32)
          let report = server.costs.report()
          #expect(report.missing.contains { $0.hasPrefix("page faults are not counted: ") })
          #expect(report.missing.contains { $0.hasPrefix("user time is not sampled") })
          #expect(report.missedRuns == 0)
          #expect(report.unreadable != nil)
          #expect(try server.route("GET /calls/{count}").costs.userNanoseconds > 0)
          let (_, json) = try await server.get("/costs.json")
          #expect(json.contains("page faults are not counted") && json.contains("missedRuns"))
        }
        #expect(log.all.filter { $0.contains("page faults") }.count == 1)
      }
    }
  }

  @Test func statesOfTheLoader() async {
    await #expect(processExitsWith: .success) {
      try await withPins { loader, directory in
        func missing(_ state: LoaderContent) async throws -> [String] {
          try loader.setValue(state, at: 0)
          let source = try await CostsSource.pinned(in: directory)
          let log = TestLog()
          let missing = RequestCosts(source, logger: log.logger).report().missing
          return missing.filter { $0.contains("loader") }
        }
        #expect(try await missing(LoaderContent(version: 1)) == [])
        try await wait("the machine has run for a while") { monotonicTime() > 12_000_000_000 }
        let abandoned = try await missing(.ofKilledLoader)
        #expect(abandoned.count == 1 && abandoned[0].hasPrefix("the loader has not responded"))
        #expect(try await missing(LoaderContent(version: 1, leftOut: 2)).count == 1)
        let events = try await missing(LoaderContent(version: 1, leftOut: 32))
        #expect(events.count == 1 && events[0].hasPrefix("events are missed"))
        let unknown = try await missing(LoaderContent(version: 1, leftOut: 1 << 63 | 1))
        #expect(unknown.count == 2 && unknown[1].contains("does not support"))
        for version in [0, 2, UInt64.max] {
          let other = try await missing(LoaderContent(version: version, leftOut: .max))
          #expect(other.count == 1 && other[0].contains("same version"))
        }
      }
    }
  }

  @Test func pinsOfALoaderThatWasKilledAreNotUsed() async {
    await #expect(processExitsWith: .success) {
      try await withPins { loader, directory in
        try await wait("the machine has run for a while") { monotonicTime() > 12_000_000_000 }
        try loader.setValue(.ofKilledLoader, at: 0)
        let log = TestLog()
        let costs = await RequestCosts.start(logger: log.logger, pinnedIn: directory)
        #expect(costs.report().obstacle?.contains("the loader has ended or is stopped") == true)
        try loader.setValue(LoaderContent(version: 1, updated: .max), at: 0)
        try await wait("the pins are used") { costs.report().source.contains("pinned") }
        Work.call(times: 100)
        #expect(costs.report().outside?.calls["process"] ?? 0 >= 100)
      }
    }
  }

  @Test func anyNumbersOutsideOfRequestsAreServed() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let source = try await CostsSource.pinned(in: directory)
        try #require(seteuid(0) == 0)
        let processes = try BPFMap(pinnedAt: directory.appending("processes"))
        try TaskLocalStorage<ProcessContent>(map: processes)
          .setValue(ProcessContent(), of: .thread(ThreadID(rawValue: getpid())))
        try #require(seteuid(nobody) == 0)
        try await TestServer.run(source) { server in
          let (status, _) = try await server.get("/costs.json")
          #expect(status == 200)
          #expect(server.costs.report().outside?.tcpSent ?? 0 >= 1 << 63)
        }
      }
    }
  }

  @Test func aServerCannotHaveAnotherProcessCounted() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        for pin in CostsProgram.readOnlyPins(in: directory) {
          let error = #expect(throws: BPFError.self) { try BPFMap(pinnedAt: pin) }
          #expect(error?.kind == .permissionDenied)
        }
        let processes = try openProcesses(in: directory)
        #expect(throws: BPFError.self) {
          try processes.setValue(ProcessContent(), of: .thread(ThreadID(rawValue: getppid())))
        }
        #expect(try processes.value(of: .thread(ThreadID(rawValue: getppid()))) == nil)
      }
    }
  }

  @Test func whatACountedProcessExecutesIsNotCounted() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let control = process_control_open(directory.appending("processes_control").string)
        try #require(control >= 0)
        let fork = try function("fork", as: (@convention(c) () -> pid_t).self)
        var (input, output) = ([CInt](repeating: -1, count: 2), [CInt](repeating: -1, count: 2))
        try #require(pipe(&input) == 0 && pipe(&output) == 0)
        let (stdin, stdout) = (input[0], output[1])
        let arguments = [strdup("/bin/cat"), nil]
        let child = arguments.withUnsafeBufferPointer { arguments in
          let child = fork()
          guard child == 0 else { return child }
          dup2(stdin, STDIN_FILENO)
          dup2(stdout, STDOUT_FILENO)
          if process_control_run(control, 1) == 1, let list = arguments.baseAddress,
            let name = list[0]
          {
            execv(name, list)
          }
          _exit(1)
        }
        try #require(child > 0)
        // It has started when it responds.
        var byte: UInt8 = 7
        try #require(write(input[1], &byte, 1) == 1 && read(output[0], &byte, 1) == 1)
        let processes = try openProcesses(in: directory)
        let costs = try #require(try processes.value(of: .thread(ThreadID(rawValue: child))))
          .outside
        // execve() only.
        #expect(costs.totalCalls == 1, "\(costs.calls)")
        #expect(costs.bytesRead == 0 && costs.bytesWritten == 0)
        try #require(kill(child, SIGKILL) == 0)
        #expect(waitpid(child, nil, 0) == child)
      }
    }
  }

  @Test func aProcessThatASignalStopsDoesNotWaitForMemory() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let control = process_control_open(directory.appending("processes_control").string)
        try #require(control >= 0)
        let fork = try function("fork", as: (@convention(c) () -> pid_t).self)
        let child = fork()
        if child == 0 {
          guard process_control_run(control, 1) == 1 else { _exit(1) }
          while true { raise(SIGSTOP) }
        }
        try #require(child > 0)
        let processes = try openProcesses(in: directory)
        try await wait("its stops are counted") {
          try #require(waitpid(child, nil, WUNTRACED) == child)
          try #require(kill(child, SIGCONT) == 0)
          let costs = try #require(try processes.value(of: .thread(ThreadID(rawValue: child))))
            .outside
          #expect(costs.blockedTime[BlockingCause.fault.rawValue] == 0)
          return costs.totalBlockedTime > 0
        }
        try #require(kill(child, SIGKILL) == 0)
        #expect(waitpid(child, nil, 0) == child)
      }
    }
  }

  @Test func whatCannotBeReadIsSaid() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let log = TestLog()
        let readCalls = try BPFMap(pinnedAt: directory.appending("read_calls"), readOnly: true)
        // An element with the address of a user page.
        let unread = try readCalls.info.valueSize == 8 ? ["some reads of event loops"] : []
        let source = try await CostsSource.pinned(in: directory)
        try denySystemCall(434)  // pidfd_open
        try await TestServer.run(source, logger: log.logger) { server in
          try await server.load(["/calls/5"], requests: 32)
          let report = server.costs.report()
          #expect(report.outside == nil)
          for begin in ["the costs outside of requests cannot be read: "] + unread {
            #expect(report.missing.filter { $0.hasPrefix(begin) }.count == 1, "\(report.missing)")
          }
          #expect(try server.route("GET /calls/{count}").costs.calls["process"] == 32 * 5)
        }
        #expect(log.all.filter { $0.contains("some reads of event loops") }.count == unread.count)
      }
    }
  }

  @Test func aServerWithoutPidfdsSaysThatReadsAreOutside() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let readCalls = try BPFMap(pinnedAt: directory.appending("read_calls"), readOnly: true)
        // A kernel page is mapped without a pidfd.
        let count = try readCalls.info.flags.contains(.mmapable) ? 0 : 1
        try denySystemCall(434)  // pidfd_open
        let log = TestLog()
        let source = try await CostsSource.pinned(in: directory)
        let report = RequestCosts(source, logger: log.logger).report()
        let begin = "reads of event loops count as outside of requests: "
        #expect(report.missing.filter { $0.hasPrefix(begin) }.count == count, "\(report.missing)")
        #expect(log.all.filter { $0.contains(begin) }.count == count)
      }
    }
  }

  @Test func aStoppedServerIsNotCounted() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let log = TestLog()
        let costs = RequestCosts(try await .pinned(in: directory), logger: log.logger)
        Work.call(times: 100)
        #expect(costs.report().outside?.calls["process"] ?? 0 >= 100)
        costs.stop()
        #expect(costs.report().outside == nil)
        let next = RequestCosts(try await .pinned(in: directory), logger: log.logger)
        #expect(next.report().outside?.calls["process"] ?? 0 < 100)
      }
    }
  }

  @Test func timeBetweenTwoServersIsNotCounted() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let sleeper = Sleeper()
        defer { sleeper.stop() }
        let log = TestLog()
        for _ in 0..<2 {
          let began = Work.now()
          let costs = RequestCosts(try await .pinned(in: directory), logger: log.logger)
          try await wait("the thread is counted") {
            costs.report().outside?.calls["time"] ?? 0 > 20
          }
          let outside = try #require(costs.report().outside)
          Sleeper.check(outside, since: nil, within: Work.now() - began)
          costs.stop()
          Work.sleepBlocking(nanoseconds: 1_000_000_000)
        }
      }
    }
  }

  @Test func workThatGoesOnIsTheRoutes() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let work = EndlessWork()
        try await TestServer.run(
          try await .pinned(in: directory),
          routes: { router in
            router.get("endless") { _, _ in
              Task { await work.run() }
              return "started"
            }
          }
        ) { server in
          defer { work.stop() }
          try await server.load(["/endless"], requests: 1)
          try await wait("there are calls") { work.calls.load(ordering: .relaxed) >= 1_000 }
          #expect(try server.route("GET /endless").costs.calls["process"] ?? 0 >= 500)
        }
      }
    }
  }

  @Test func aRegistrationThatFailsForAMomentIsTriedAgain() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        try #require(seteuid(0) == 0)
        let object = try BPFObject(.busyControl)
        try object.load()
        let pin = directory.appending("processes_control")
        try #require(unlink(pin.string) == 0)
        try object.program("busy_control").loaded().pin(at: pin)
        try #require(chmod(pin.string, 0o666) == 0)
        try #require(seteuid(nobody) == 0)
        try object.setGlobal("failures", to: UInt32(12))
        _ = try await CostsSource.pinned(in: directory)
        #expect(try object.global("failures", as: UInt32.self) == 0)

        try object.setGlobal("failures", to: UInt32.max)
        let error = try await #require(throws: BPFError.self) {
          try await CostsSource.pinned(in: directory)
        }
        #expect(error.kind == .outOfResources, "\(error)")
      }
    }
  }

  @Test func anotherMapInPlaceOfTheLoadersIsNotUsed() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        try #require(seteuid(0) == 0)
        let pin = directory.appending("loader")
        try #require(unlink(pin.string) == 0)
        try BPFMap(pinnedAt: directory.appending("read_calls")).pin(at: pin)
        try #require(chmod(pin.string, 0o644) == 0)
        try #require(seteuid(nobody) == 0)
        let error = try await #require(throws: BPFError.self) {
          try await CostsSource.pinned(in: directory)
        }
        #expect(error.kind == .wrongType)
      }
    }
  }
}

private let nobody: uid_t = 65534

/// `struct process`, as any process with write access to the map may write it.
private struct ProcessContent: MapValue, BitwiseCopyable {
  var outside = huge
  var execID: UInt64 = 0
  var registered: UInt64 = 0

  private static var huge: KernelCosts {
    var costs = KernelCosts()
    costs.kernelTime = 1 << 63
    costs.tcpSent = 1 << 63
    return costs
  }
}

/// The costs of processes, as a server reads them. Only root may read their layout.
private func openProcesses(in directory: FilePath) throws -> TaskLocalStorage<ProcessContent> {
  let map = try BPFMap(pinnedAt: directory.appending("processes"), readOnly: true)
  try #require(seteuid(0) == 0)
  let processes = try TaskLocalStorage<ProcessContent>(map: map)
  try #require(seteuid(nobody) == 0)
  return processes
}

/// Pins the programs and drops all rights. `body` is called with the map of the loader's state.
private func withPins(
  without: Set<String> = [],
  _ body: (BPFArrayMap<LoaderContent>, FilePath) async throws -> Void
) async throws {
  let directory = "/tmp/request-costs-tests.\(getpid())"
  try #require(mkdir(directory, 0o755) == 0)
  defer { rmdir(directory) }
  try #require(mount("bpf", directory, "bpf", 0, "mode=0755") == 0)
  defer { umount2(directory, CInt(MNT_DETACH)) }
  let program = try CostsProgram(without: without)
  let path = FilePath(directory)
  try program.pin(in: path)
  for pin in CostsProgram.pins(in: path) {
    let isReadOnly = CostsProgram.readOnlyPins(in: path).contains(pin)
    try #require(chmod(pin.string, isReadOnly ? 0o644 : 0o666) == 0)
  }
  let loader = try BPFArrayMap<LoaderContent>(
    BPFMap(pinnedAt: path.appending("loader"))
  )
  try #require(seteuid(nobody) == 0)
  defer {
    seteuid(0)
    program.detach()
  }
  try await body(loader, path)
}
