// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// A thread that a test starts and joins. `join()` throws the error of its body.
package final class TestThread: Sendable {
  private let thread: pthread_t
  private let outcome: Outcome

  private final class Outcome: Sendable {
    let body: @Sendable () throws -> Void
    let error = Box<(any Error)?>(nil)
    let id = Box<pid_t>(0)
    init(_ body: @escaping @Sendable () throws -> Void) { self.body = body }
  }

  struct CannotStart: Error { var errno: Int32 }

  package init(stackSize: Int = 256 * 1024, _ body: @escaping @Sendable () throws -> Void) throws {
    outcome = Outcome(body)
    var attributes = pthread_attr_t()
    pthread_attr_init(&attributes)
    pthread_attr_setstacksize(&attributes, stackSize)
    defer { pthread_attr_destroy(&attributes) }
    var thread = pthread_t()
    let context = Unmanaged.passRetained(outcome)
    let result = pthread_create(
      &thread,
      &attributes,
      { context in
        guard let context else { return nil }
        let outcome = Unmanaged<Outcome>.fromOpaque(context).takeRetainedValue()
        outcome.id.set(ThreadID.current.rawValue)
        do { try outcome.body() } catch { outcome.error.set(error) }
        return nil
      },
      context.toOpaque()
    )
    guard result == 0 else {
      context.release()
      throw CannotStart(errno: result)
    }
    self.thread = thread
  }

  /// Requests that the thread ends at its next cancellation point.
  package func cancel() { pthread_cancel(thread) }

  package func join() throws {
    pthread_join(thread, nil)
    // The joining thread may continue before the kernel has freed the other one's id and storages.
    let id = outcome.id.get()
    while access("/proc/self/task/\(id)", F_OK) == 0 { sched_yield() }
    if let error = outcome.error.get() { throw error }
  }
}

/// Opens once; threads wait until it is open.
package final class Gate: Sendable {
  private nonisolated(unsafe) let semaphore: UnsafeMutablePointer<sem_t>

  package init() {
    semaphore = .allocate(capacity: 1)
    sem_init(semaphore, 0, 0)
  }

  deinit {
    sem_destroy(semaphore)
    semaphore.deallocate()
  }

  package func open() { sem_post(semaphore) }

  package func wait() {
    while sem_wait(semaphore) != 0 {}
    sem_post(semaphore)
  }
}
