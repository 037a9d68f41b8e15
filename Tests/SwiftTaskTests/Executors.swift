// SPDX-License-Identifier: Apache-2.0
import Dispatch
import Glibc
import Synchronization
import TestSupport

/// Runs jobs on a queue of Dispatch.
final class QueueExecutor: TaskExecutor {
  static let shared = QueueExecutor()
  private let queue = DispatchQueue(label: "executor", attributes: .concurrent)

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { [self] in job.runSynchronously(on: asUnownedTaskExecutor()) }
  }
}

/// Runs the jobs of an actor on a serial queue of Dispatch.
final class SerialQueueExecutor: SerialExecutor {
  private let queue = DispatchQueue(label: "actor")

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    queue.async { [self] in job.runSynchronously(on: asUnownedSerialExecutor()) }
  }
}

/// Runs jobs on four threads of its own.
final class PoolExecutor: TaskExecutor {
  static let shared = PoolExecutor()
  private let jobs = Mutex<[UnownedJob]>([])
  private nonisolated(unsafe) let ready: UnsafeMutablePointer<sem_t>

  init() {
    ready = .allocate(capacity: 1)
    sem_init(ready, 0, 0)
    for _ in 0..<4 {
      do { _ = try TestThread { [self] in work() } } catch { fatalError("\(error)") }
    }
  }

  func enqueue(_ job: consuming ExecutorJob) {
    let job = UnownedJob(job)
    jobs.withLock { $0.insert(job, at: 0) }
    sem_post(ready)
  }

  private func work() {
    while true {
      if sem_wait(ready) != 0 { continue }
      if let job = jobs.withLock({ $0.popLast() }) {
        job.runSynchronously(on: asUnownedTaskExecutor())
      }
    }
  }
}
