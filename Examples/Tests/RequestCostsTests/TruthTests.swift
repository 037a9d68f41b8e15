// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Hummingbird
import Logging
import RequestCosts
import RequestCostsDemo
import Synchronization
import Testing

/// The programs' figures against the routes' own counts and measurements. Always from 16
/// connections.
@Suite(.liveKernel, .serialized)
struct TruthTests {
  /// Counts are exact for each request, even if all kinds of routes run at the same time.
  @Test func noRequestHasCallsOfAnother() async throws {
    try await TestServer.run(.loading()) { server in
      let paths = [
        "/calls/100", "/plain", "/group", "/calls/7", "/sleep", "/actor", "/stream", "/block",
      ]
      try await server.warmUp(paths)
      try await server.load(paths, requests: 1600)
      let calls = server.finished.all.map { ($0.path, $0.costs.calls["process"] ?? 0) }
      #expect(calls.count == 1600)
      for (path, expected) in [
        "/calls/100": 100, "/calls/7": 7, "/plain": 0, "/group": 100, "/sleep": 0, "/actor": 0,
        "/stream": 20, "/block": 0,
      ] as [String: UInt64] {
        let counts = calls.filter { $0.0 == path }.map(\.1)
        #expect(counts == Array(repeating: expected, count: 200), "\(path)")
      }
      #expect(server.finished.of("GET /block").allSatisfy { $0.costs.calls["time"] == 1 })
    }
  }

  @Test func processorTime() async throws {
    // The server's other work for each request also counts, and takes longer in emulation.
    let time: UInt64 = isEmulated ? 20_000_000 : 2_000_000
    let most = isEmulated ? 1.2 : 1.1
    let used = Atomic<UInt64>(0)
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("burn") { _, _ in
          let before = Work.threadTime()
          Work.burn(nanoseconds: time)
          used.add(Work.threadTime() - before, ordering: .relaxed)
          return "done"
        }
      }
    ) { server in
      try await server.load(["/burn"], requests: 200)
      let costs = try server.route("GET /burn").costs
      let (user, kernel) = (costs.userNanoseconds, costs.kernelNanoseconds)
      let used = used.load(ordering: .relaxed)
      let ratio = Double(user + kernel) / Double(used)
      #expect((0.9...most).contains(ratio), "user \(user), kernel \(kernel), used \(used)")
    }
  }

  @Test func sleepingSwiftTasksBlockNoThread() async throws {
    try await TestServer.run(.loading()) { server in
      try await server.load(["/sleep"], requests: 100)
      let route = try server.route("GET /sleep")
      #expect(route.p50Nanoseconds >= 9_900_000)
      #expect(route.costs.blockedNanoseconds["sleep"] == nil)
      // A thread may wait briefly for a lock of the runtime.
      #expect(route.costs.blockedNanoseconds.values.reduce(0, +) < 100_000_000)
    }
  }

  @Test func sleepingThreadsAreBlocked() async throws {
    let slept = Atomic<UInt64>(0)
    try await TestServer.run(
      .loading(),
      routes: { router in
        router.get("block") { _, _ in
          let before = Work.now()
          Work.sleepBlocking(nanoseconds: 10_000_000)
          slept.add(Work.now() - before, ordering: .relaxed)
          return "done"
        }
      }
    ) { server in
      try await server.load(["/block"], requests: 100)
      let blocked = try #require(server.route("GET /block").costs.blockedNanoseconds["sleep"])
      // Timers begin a little before the thread stops.
      #expect(blocked >= 980_000_000)
      #expect(blocked <= slept.load(ordering: .relaxed))
    }
  }

  @Test func waitingForALock() async throws {
    let waited = Atomic<UInt64>(0)
    let lock = Mutex(())
    try await TestServer.run(
      .loading(),
      routes: { router in
        router.get("lock") { _, _ in
          let before = Work.now()
          lock.withLock { _ in
            waited.add(Work.now() - before, ordering: .relaxed)
            Work.sleepBlocking(nanoseconds: 2_000_000)
          }
          return "done"
        }
      }
    ) { server in
      try await server.load(["/lock"], requests: 100)
      let costs = try server.route("GET /lock").costs
      let blocked = costs.blockedNanoseconds["futex"] ?? 0
      let total = waited.load(ordering: .relaxed)
      #expect(blocked > 0 && blocked <= total)
      // A mutex spins before it blocks, and a woken thread waits for a processor.
      let explained =
        blocked + costs.runQueueNanoseconds + costs.userNanoseconds + costs.kernelNanoseconds
      #expect(Double(explained) >= 0.9 * Double(total))
      #expect(costs.blockedNanoseconds["sleep"] ?? 0 >= 190_000_000)
    }
  }

  @Test func readingFiles() async throws {
    let read = Atomic<UInt64>(0)
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("file") { _, _ in
          let count = try #require(Work.read("/proc/self/maps"))
          read.add(UInt64(count), ordering: .relaxed)
          return "done"
        }
      }
    ) { server in
      try await server.load(["/file"], requests: 100)
      #expect(
        try server.route("GET /file").costs.bytesRead == read.load(ordering: .relaxed)
      )
    }
  }

  @Test(.tcpTracepoints)
  func bytesOfTCPConnections() async throws {
    let echo = try EchoServer()
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("tcp/:bytes") { _, context in
          let count = try context.parameters.require("bytes", as: Int.self)
          #expect(try echo.exchange(count))
          return "done"
        }
      }
    ) { server in
      try await server.load(["/tcp/700", "/tcp/50000"], requests: 200)
      for request in server.finished.all {
        let count: UInt64 = request.path == "/tcp/700" ? 700 : 50000
        #expect(request.costs.tcpSent == count && request.costs.tcpReceived == count)
      }
    }
  }

  @Test func pageFaultsOfNewMemory() async throws {
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("pages/:count") { _, context in
          let count = try context.parameters.require("count", as: Int.self)
          let size = count * 4096
          let memory = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
          let start = try #require(memory != MAP_FAILED ? memory : nil)
          madvise(start, size, MADV_NOHUGEPAGE)
          for offset in stride(from: 0, to: size, by: 4096) {
            start.storeBytes(of: 1, toByteOffset: offset, as: UInt8.self)
          }
          munmap(start, size)
          return "done"
        }
      }
    ) { server in
      try await server.load(["/pages/64", "/pages/200"], requests: 200)
      for request in server.finished.all {
        let count: UInt64 = request.path == "/pages/64" ? 64 : 200
        // The first requests also touch pages of the server.
        #expect(request.costs.pageFaults >= count)
      }
      let least = { (path: String) in
        server.finished.all.filter { $0.path == path }.map(\.costs.pageFaults).min()
      }
      #expect(least("/pages/64") == 64)
      #expect(least("/pages/200") == 200)
    }
  }

  @Test func aSharedActorWorksForWhoCalls() async throws {
    actor Shared {
      func call(_ times: Int) { Work.call(times: times) }
    }
    let shared = Shared()
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("actor/:calls") { _, context in
          let calls = try context.parameters.require("calls", as: Int.self)
          await shared.call(calls)
          await Task.yield()
          await shared.call(calls)
          return "done"
        }
      }
    ) { server in
      try await server.load(["/actor/3", "/actor/40"], requests: 400)
      for request in server.finished.all {
        #expect(request.costs.calls["process"] == (request.path == "/actor/3" ? 6 : 80))
      }
    }
  }

  @Test func workAfterTheResponseIsTheRoutes() async throws {
    try await TestServer.run(.loading()) { server in
      try await server.load(["/background"], requests: 100)
      try await wait("the route has all calls") {
        try server.route("GET /background").costs.calls["process"] == 2000
      }
    }
  }

  @Test func workThatGoesOnIsTheRoutes() async throws {
    let work = EndlessWork()
    try await TestServer.run(
      .loading(),
      routes: { router in
        router.get("endless") { _, _ in
          Task { await work.run() }
          return "started"
        }
      }
    ) { server in
      defer { work.stop() }
      try await server.load(["/endless"], requests: 20)
      func counted() throws -> UInt64 {
        try server.route("GET /endless").costs.calls["process"] ?? 0
      }
      func missed() -> UInt64 {
        let report = server.costs.report()
        return (report.missedRuns ?? 0) + UInt64(report.unreadable ?? 0)
      }
      for _ in 0..<3 {
        let calls = work.calls.load(ordering: .relaxed)
        try await wait("there are more calls") {
          work.calls.load(ordering: .relaxed) > calls + 2000
        }
        let least = work.calls.load(ordering: .relaxed)
        let counted = try counted()
        // Linux 7 skips programs while one is preempted.
        #expect(counted + missed() >= least)
        // Each may have made some calls that it did not report.
        #expect(counted <= work.calls.load(ordering: .relaxed) + 20 * 100)
      }
      work.stop()
      try await wait("nothing goes on") { work.running.load(ordering: .relaxed) == 0 }
      try await wait(
        """
        the route has all calls (\(try counted()) of \(work.calls.load(ordering: .relaxed))), or the kernel \
        says that it left some out (\(missed())); outside: \(server.costs.report().outside?.calls ?? [:])
        """
      ) {
        let calls = work.calls.load(ordering: .relaxed)
        let missed = missed()
        let counted = try counted()
        return counted <= calls && counted + missed >= calls
      }
    }
  }

  /// The sum of routes and the rest equals the kernel's figures of the process.
  @Test func theSumIsTheProcess() async throws {
    try await TestServer.run(.loading()) { server in
      func counted(_ report: CostsReport) throws -> UInt64 {
        let outside = try #require(report.outside)
        return ([outside] + report.routes.map(\.costs)).reduce(0) {
          $0 + $1.userNanoseconds + $1.kernelNanoseconds
        }
      }
      // Threads are counted from their first system call on.
      try await server.load(["/plain"], requests: 200)
      let (before, stolenBefore) = (server.costs.report(), TestServer.stolenTime)
      try await server.load(["/plain", "/burn", "/group", "/file", "/calls/100"], requests: 3000)
      let (after, stolenAfter) = (server.costs.report(), TestServer.stolenTime)
      let process = Double(after.processNanoseconds - before.processNanoseconds)
      let ratio = Double(try counted(after) - counted(before)) / process
      // getrusage() excludes time that the host took from a processor; the programs cannot detect
      // it.
      let stolen = Double(stolenAfter - stolenBefore) / process
      #expect(
        (0.95...1.05 + stolen).contains(ratio),
        "\(ratio) of the \(process) ns by getrusage, \(stolen) stolen"
      )
    }
  }

  /// A sample may interrupt the first system call of a thread.
  @Test func newThreadsHaveNoTimeFromBeforeTheyBegan() async throws {
    // At a high frequency, so that samples interrupt the first calls of some threads.
    let costs = RequestCosts(
      try await .loading(frequency: isEmulated ? 997 : 20_000),
      logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    )
    defer { costs.stop() }
    for _ in 0..<(isEmulated ? 500 : 10_000) {
      var thread = pthread_t()
      let code = pthread_create(
        &thread,
        nil,
        { _ in
          Work.call(times: 1)
          return nil
        },
        nil
      )
      try #require(code == 0)
      pthread_join(thread, nil)
    }
    let report = costs.report()
    let outside = try #require(report.outside)
    #expect(
      outside.userNanoseconds < 2 * report.processNanoseconds,
      "\(outside.userNanoseconds) ns of the \(report.processNanoseconds) ns by getrusage"
    )
  }

  /// Events while no program is attached are not added later.
  @Test func timeWithoutProgramsIsNotCounted() async throws {
    let source = try await CostsSource.loading()
    let costs = RequestCosts(
      source,
      logger: Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    )
    defer { costs.stop() }
    let program = try #require(source.program)
    let sleeper = Sleeper()
    defer { sleeper.stop() }
    try await wait("the thread is known") {
      costs.report().outside?.blockedNanoseconds["sleep"] ?? 0 > 0
    }
    program.detach()
    let before = costs.report()
    Work.sleepBlocking(nanoseconds: 1_000_000_000)
    let began = Work.now()
    try program.attach()
    let outsideBefore = try #require(before.outside)
    try await wait("the thread is counted again") {
      costs.report().outside?.calls["time"] ?? 0 > (outsideBefore.calls["time"] ?? 0) + 20
    }
    let after = costs.report()
    let outside = try #require(after.outside)
    let time = Work.now() - began
    Sleeper.check(outside, since: outsideBefore, within: time)
    let processor = { (costs: CostsReport.Figures) in
      costs.userNanoseconds + costs.kernelNanoseconds
    }
    #expect(
      processor(outside) - processor(outsideBefore)
        <= after.processNanoseconds - before.processNanoseconds + time
    )
  }
}
