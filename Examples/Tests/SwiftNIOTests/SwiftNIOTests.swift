// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import NIOCore
import NIOPosix
import Testing

/// `struct request` of requests.bpf.c.
typealias Request = Requests.Request

/// Swift tasks on SwiftNIO's event loops. Each request counts its own calls, so a call that a
/// program attributes to another request is missing in one sum and added to another.
@Suite(.liveKernel, .serialized)
struct SwiftNIOTests {
  let object: BPFObject

  init() throws {
    object = try BPFObject(.requests)
    try object.load()
    try object.setGlobal("expected_tgid", to: UInt64(getpid()))
    try object.attach()
  }

  private func withoutRequest() throws -> UInt64 { try object.global("without_request") }

  /// Runs 16 requests at the same time, each `body` many times, and checks the number of calls in
  /// each.
  private func run(
    calls: UInt64,
    _ body: @escaping @Sendable (UInt64) async throws -> Void
  ) async throws {
    let requests = try await SwiftTaskStorage<Request>(object, "requests")
    let rounds: UInt64 = 50
    try await withThrowingTaskGroup { group in
      for id in UInt64(1)...16 {
        group.addTask {
          let (_, snapshot) = try await requests.withValue({ $0.id = id }) {
            for _ in 0..<rounds { try await body(id) }
          }
          #expect(snapshot?.calls == rounds * calls)
        }
      }
      try await group.waitForAll()
    }
    #expect(try withoutRequest() == 0)
  }

  @Test func eventLoopAsTaskExecutor() async throws {
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    try await run(calls: 3) { id in
      await withTaskExecutorPreference(LoopExecutor(loops.next())) {
        _ = getppid()
        await Task.yield()
        _ = getppid()
      }
      _ = getppid()
    }
    try await loops.shutdownGracefully()
  }

  @Test func futuresAreAwaited() async throws {
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    try await run(calls: 2) { id in
      let number = try await loops.next().submit { id }.get()
      #expect(number == id)
      _ = getppid()
      try await loops.next().scheduleTask(in: .microseconds(10)) {}.futureResult.get()
      _ = getppid()
    }
    try await loops.shutdownGracefully()
  }

  @Test func anActorOnAnEventLoop() async throws {
    actor Connection {
      private let loop: any EventLoop
      nonisolated var unownedExecutor: UnownedSerialExecutor {
        loop.executor.asUnownedSerialExecutor()
      }
      init(_ loop: any EventLoop) { self.loop = loop }
      func handle() async {
        _ = getppid()
        await Task.yield()
        _ = getppid()
      }
    }
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    let shared = Connection(loops.next())
    try await run(calls: 3) { _ in
      await shared.handle()
      _ = getppid()
    }
    try await loops.shutdownGracefully()
  }

  @Test func callbacksOfAnEventLoopHaveTheThreadsScope() async throws {
    let requests = try await SwiftTaskStorage<Request>(object, "requests")
    let loops = MultiThreadedEventLoopGroup(numberOfThreads: 2)
    try await withThrowingTaskGroup { group in
      for id in UInt64(1)...16 {
        group.addTask {
          for _ in 0..<50 {
            let calls = try await loops.next().submit {
              requests.withValue({ $0.id = id }) { _ = getppid() }.snapshot?.calls
            }.get()
            #expect(calls == 1)
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(try withoutRequest() == 0)
    try await loops.next().submit { _ = getppid() }.get()
    #expect(try withoutRequest() == 1)
    try await loops.shutdownGracefully()
  }
}

/// Runs the jobs of Swift tasks on an event loop.
private final class LoopExecutor: TaskExecutor {
  private let loop: any EventLoop

  init(_ loop: any EventLoop) { self.loop = loop }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    loop.execute { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
  }
}
