// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF
internal import SystemPackage

/// Starts a thread that runs `body`.
func startThread(
  attempt: String,
  _ body: @escaping @Sendable () -> Void
) throws(BPFError) -> pthread_t {
  final class Start {
    let body: @Sendable () -> Void
    init(_ body: @escaping @Sendable () -> Void) { self.body = body }
  }
  let start = Unmanaged.passRetained(Start(body))
  var thread = pthread_t()
  let code = pthread_create(
    &thread,
    nil,
    { start in
      guard let start else { return nil }
      Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
      return nil
    },
    start.toOpaque()
  )
  guard code == 0 else {
    start.release()
    throw BPFError(
      .outOfResources,
      attempt: attempt,
      on: "a second thread",
      errno: Errno(rawValue: code),
      advice: "allow the process one more thread"
    )
  }
  return thread
}

/// Runs `body` on a thread of its own and waits for it.
func onNewThread<Result: Sendable>(
  attempt: String,
  _ body: @escaping @Sendable () -> Result
) throws(BPFError) -> Result? {
  let result = ThreadResult<Result>()
  let thread = try startThread(attempt: attempt) { result.value = body() }
  pthread_join(thread, nil)
  return result.value
}

/// Written by one thread, and read by another that joined it.
private final class ThreadResult<Value: Sendable>: Sendable {
  nonisolated(unsafe) var value: Value?
}

/// Runs each job on a thread of its own.
final class NewThreadExecutor: TaskExecutor {
  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let run: @Sendable () -> Void = { [self] in
      job.runSynchronously(on: asUnownedTaskExecutor())
    }
    do throws(BPFError) {
      pthread_detach(try startThread(attempt: "start a thread", run))
    } catch {
      run()
    }
  }
}
