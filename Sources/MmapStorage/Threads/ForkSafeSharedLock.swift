// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF

/// A reader-writer lock that prefers writers. A forking thread may hold it for writing across
/// `fork`; the child calls ``reset()`` instead of ``unlock()``.
final class ForkSafeSharedLock: Sendable {
  private nonisolated(unsafe) let rwlock: UnsafeMutablePointer<pthread_rwlock_t>

  init() {
    rwlock = .allocate(capacity: 1)
    reset()
  }

  deinit {
    pthread_rwlock_destroy(rwlock)
    rwlock.deallocate()
  }

  /// Makes the lock new. In the child of a `fork` it still contains the parent's thread id.
  func reset() {
    var attributes = pthread_rwlockattr_t()
    pthread_rwlockattr_init(&attributes)
    pthread_rwlockattr_setkind_np(
      &attributes,
      Int32(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    )
    rwlock.initialize(to: pthread_rwlock_t())
    pthread_rwlock_init(rwlock, &attributes)
    pthread_rwlockattr_destroy(&attributes)
  }

  func writeLock() { pthread_rwlock_wrlock(rwlock) }

  func unlock() { pthread_rwlock_unlock(rwlock) }

  func withWriteLock<R>(_ body: () -> R) -> R {
    writeLock()
    defer { unlock() }
    return body()
  }

  func withReadLock<R>(_ body: () -> R) -> R {
    pthread_rwlock_rdlock(rwlock)
    defer { unlock() }
    return body()
  }
}
