// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Synchronization
import TestSupport

/// Runs the jobs of Swift tasks on two threads in turn, two jobs each, because `Task.yield` takes
/// two.
final class AlternatingExecutor: TaskExecutor {
  private final class Worker: Sendable {
    let jobs = Mutex<[UnownedJob?]>([])
    let arrivals = DispatchSemaphore(value: 0)

    func put(_ job: UnownedJob?) {
      jobs.withLock { $0.append(job) }
      arrivals.signal()
    }

    /// Waits for the next job; nil after the last one.
    func take() -> UnownedJob? {
      arrivals.wait()
      return jobs.withLock { $0.removeFirst() }
    }
  }

  private let workers = [Worker(), Worker()]
  private let turn = Atomic(0)

  func start() throws -> [TestThread] {
    try workers.map { worker in
      try TestThread { [unowned self] in
        while let job = worker.take() { job.runSynchronously(on: asUnownedTaskExecutor()) }
      }
    }
  }

  func stop(_ threads: [TestThread]) throws {
    for worker in workers { worker.put(nil) }
    for thread in threads { try thread.join() }
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let turn = turn.add(1, ordering: .relaxed).oldValue
    workers[turn / 2 % 2].put(UnownedJob(job))
  }
}
