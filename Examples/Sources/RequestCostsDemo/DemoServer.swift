// SPDX-License-Identifier: Apache-2.0
import Glibc
public import Hummingbird
import NIOCore
import RequestCosts
import Synchronization

/// The routes of the demonstration. Each does one kind of work, whose costs are known.
public enum DemoServer {
  /// Called with the costs of a route, to act as the programs if there are none.
  public typealias Told = @Sendable (inout KernelCosts) -> Void

  /// Adds the routes.
  ///
  /// - Parameters:
  ///   - router: The router to which the routes are added.
  ///   - tell: Adds costs to those of the current request.
  public static func addRoutes<Context: RequestContext>(
    to router: Router<Context>,
    tell: @escaping @Sendable (Told) -> Void = { _ in }
  ) {
    let lock = FutexLock()
    let log = SharedLog()

    router.get("plain") { _, _ in "Hello\n" }
    router.get("burn") { _, _ in
      let before = Work.threadTime()
      Work.burn(nanoseconds: 2_000_000)
      let time = Work.threadTime() - before
      tell { $0.userTime += time }
      return "Used \(time / 1000) µs of a processor\n"
    }
    router.get("calls/:count") { _, context in
      let count = try context.parameters.require("count", as: Int.self)
      guard (0...10_000).contains(count) else {
        throw HTTPError(.badRequest, message: "The number of calls must be 0 to 10000")
      }
      Work.call(times: count)
      tell { $0.calls[SystemCallClass.process.rawValue] += UInt64(count) }
      return "Made \(count) system calls\n"
    }
    router.get("sleep") { _, _ in
      try await Task.sleep(for: .milliseconds(10))
      return "Slept without a thread\n"
    }
    router.get("block") { _, _ in
      let before = Work.now()
      Work.sleepBlocking(nanoseconds: 10_000_000)
      let time = Work.now() - before
      tell {
        $0.blockedTime[BlockingCause.sleep.rawValue] += time
        $0.calls[SystemCallClass.time.rawValue] += 1
      }
      return "Blocked a thread for \(time / 1000) µs\n"
    }
    router.get("lock") { _, _ in
      let waited = lock.withLock {
        Work.sleepBlocking(nanoseconds: 2_000_000)
      }
      tell { $0.blockedTime[BlockingCause.futex.rawValue] += waited }
      return "Waited \(waited / 1000) µs for a lock\n"
    }
    router.get("file") { _, _ in
      let count = Work.read("/proc/self/maps") ?? 0
      tell {
        $0.bytesRead += UInt64(count)
        $0.calls[SystemCallClass.io.rawValue] += 2
        $0.calls[SystemCallClass.file.rawValue] += 2
      }
      return "Read \(count) bytes\n"
    }
    router.get("group") { _, _ in
      await withDiscardingTaskGroup { group in
        for _ in 0..<10 {
          group.addTask {
            Work.call(times: 10)
            tell { $0.calls[SystemCallClass.process.rawValue] += 10 }
          }
        }
      }
      return "Made 100 system calls in ten child tasks\n"
    }
    router.get("actor") { _, _ in
      await log.append()
      tell { $0.calls[SystemCallClass.io.rawValue] += 1 }
      return "Wrote to a file of a shared actor\n"
    }
    router.get("background") { _, _ in
      Task {
        try await Task.sleep(for: .milliseconds(5))
        Work.call(times: 20)
        tell { $0.calls[SystemCallClass.process.rawValue] += 20 }
      }
      return "Goes on after the response\n"
    }
    router.get("stream") { _, _ in
      Response(
        status: .ok,
        body: ResponseBody { writer in
          for _ in 0..<4 {
            Work.call(times: 5)
            tell { $0.calls[SystemCallClass.process.rawValue] += 5 }
            try await writer.write(ByteBuffer(string: "More\n"))
          }
          try await writer.finish(nil)
        }
      )
    }
  }

  /// The paths that the load generator requests.
  public static let paths = [
    "/plain", "/burn", "/calls/100", "/sleep", "/block", "/lock", "/file", "/group", "/actor",
    "/background", "/stream",
  ]
}

/// A lock that blocks the thread.
final class FutexLock: Sendable {
  private let mutex = Mutex(())

  /// Returns how long the thread waited for the lock.
  func withLock(_ body: () -> Void) -> UInt64 {
    let before = Work.now()
    return mutex.withLock { _ in
      let waited = Work.now() - before
      body()
      return waited
    }
  }
}

/// Shared by all requests.
actor SharedLog {
  private let file = open("/dev/null", O_WRONLY | O_CLOEXEC)

  func append() { _ = write(file, "x", 1) }
}
