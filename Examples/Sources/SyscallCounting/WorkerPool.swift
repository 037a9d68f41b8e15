// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import Synchronization

/// Several workers that run at the same time, each on a separate thread.
public enum WorkerPool {
  /// Runs the workers and returns their results, in their order.
  ///
  /// - Parameters:
  ///   - workers: The work.
  ///   - counters: The storage that the program counts in.
  ///   - called: Called after each system call, on the thread that made it.
  /// - Returns: A result for each worker.
  /// - Throws: ``ThreadFailure``, or the error of a worker.
  public static func run(
    _ workers: [Worker],
    counters: TaskLocalStorage<CallCounters>,
    called: @escaping @Sendable (CallClass) -> Void = { _ in }
  ) throws -> [Worker.Result] {
    let jobs = workers.map { Job($0, counters: counters, called: called) }
    var threads: [pthread_t] = []
    for job in jobs {
      var thread = pthread_t()
      let context = Unmanaged.passRetained(job)
      let failure = pthread_create(
        &thread,
        nil,
        { context in
          if let context { Unmanaged<Job>.fromOpaque(context).takeRetainedValue().run() }
          return nil
        },
        context.toOpaque()
      )
      if failure == 0 {
        threads.append(thread)
      } else {
        context.release()
        job.outcome.withLock { $0 = .failure(ThreadFailure(errno: failure)) }
      }
    }
    for thread in threads { pthread_join(thread, nil) }
    return try jobs.compactMap { job in try job.outcome.withLock { $0 }?.get() }
  }

  /// A thread could not be started.
  public struct ThreadFailure: Error {
    /// The result of `pthread_create`.
    public var errno: Int32
  }

  private final class Job: Sendable {
    let worker: Worker
    let counters: TaskLocalStorage<CallCounters>
    let called: @Sendable (CallClass) -> Void
    let outcome = Mutex<Result<Worker.Result, any Error>?>(nil)

    init(
      _ worker: Worker,
      counters: TaskLocalStorage<CallCounters>,
      called: @escaping @Sendable (CallClass) -> Void
    ) {
      self.worker = worker
      self.counters = counters
      self.called = called
    }

    func run() {
      let result = Result { try worker.run(counters: counters, called: called) }
      outcome.withLock { $0 = result }
    }
  }
}
