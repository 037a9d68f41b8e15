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
  let start = unsafe Unmanaged.passRetained(Start(body))
  var thread = pthread_t()
  let code = unsafe pthread_create(
    &thread,
    nil,
    { start in
      guard let start = unsafe start else { return nil }
      unsafe Unmanaged<Start>.fromOpaque(start).takeRetainedValue().body()
      return nil
    },
    unsafe start.toOpaque()
  )
  guard code == 0 else {
    unsafe start.release()
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
  let thread = try startThread(attempt: attempt) { unsafe result.value = body() }
  pthread_join(thread, nil)
  return unsafe result.value
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
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    }
    do throws(BPFError) {
      pthread_detach(try startThread(attempt: "start a thread", run))
    } catch {
      run()
    }
  }
}
