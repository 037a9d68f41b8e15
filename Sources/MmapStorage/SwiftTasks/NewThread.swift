// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

// Invariant: each job is run once.

private func startThread(
  attempt: String,
  _ body: @escaping @Sendable () -> Void
) throws(BPFError) -> StartedThread {
  do throws(Errno) {
    return try LibBPF.startThread(body)
  } catch {
    throw BPFError(
      .outOfResources,
      attempt: attempt,
      on: "a second thread",
      errno: error,
      advice: "raise the limit on threads (RLIMIT_NPROC, or pids.max of the cgroup)"
    )
  }
}

/// Runs `body` on a new thread and waits for it.
func onNewThread<Result: Sendable>(
  attempt: String,
  _ body: @escaping @Sendable () -> Result
) throws(BPFError) -> Result? {
  let result = ForkSafeMutex<Result?>(nil)
  try startThread(attempt: attempt) {
    let value = body()
    result.withLock { $0 = value }
  }.join()
  return result.withLock { $0 }
}

/// Runs each job on a new thread.
final class NewThreadExecutor: TaskExecutor {
  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    let run: @Sendable () -> Void = { [self] in
      unsafe job.runSynchronously(on: asUnownedTaskExecutor())
    }
    do throws(BPFError) {
      try startThread(attempt: "start a thread", run).detach()
    } catch {
      run()
    }
  }
}
