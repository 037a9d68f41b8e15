// SPDX-License-Identifier: Apache-2.0
import Glibc

/// A lock that may be held across `fork` and released in the child, which the standard library's
/// `Mutex` may not: it remembers the thread id of its owner.
package final class ForkSafeLock: Sendable {
  private nonisolated(unsafe) let mutex: UnsafeMutablePointer<pthread_mutex_t>

  package init() {
    mutex = .allocate(capacity: 1)
    mutex.initialize(to: pthread_mutex_t())
    pthread_mutex_init(mutex, nil)
  }

  deinit {
    pthread_mutex_destroy(mutex)
    mutex.deallocate()
  }

  package func lock() { pthread_mutex_lock(mutex) }

  package func unlock() { pthread_mutex_unlock(mutex) }

  /// Nil without running `body` if someone has the lock: in the child of a `fork`, perhaps a thread
  /// that is not there.
  package func withLockIfFree<R>(_ body: () -> R) -> R? {
    guard pthread_mutex_trylock(mutex) == 0 else { return nil }
    defer { unlock() }
    return body()
  }

  package func withLock<R, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lock()
    defer { unlock() }
    return try body()
  }
}
