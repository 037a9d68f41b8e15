// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF

/// A reader-writer lock that prefers writers. A forking thread may hold it for writing across
/// `fork`; the child calls ``reset()`` instead of ``unlock()``.
@safe
final class ForkSafeSharedLock: Sendable {
  private nonisolated(unsafe) let rwlock: UnsafeMutablePointer<pthread_rwlock_t>

  init() {
    unsafe rwlock = .allocate(capacity: 1)
    reset()
  }

  deinit {
    unsafe pthread_rwlock_destroy(rwlock)
    unsafe rwlock.deallocate()
  }

  /// Makes the lock new. In the child of a `fork` it still contains the parent's thread id.
  func reset() {
    var attributes = pthread_rwlockattr_t()
    unsafe pthread_rwlockattr_init(&attributes)
    unsafe pthread_rwlockattr_setkind_np(
      &attributes,
      Int32(PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP)
    )
    unsafe rwlock.initialize(to: pthread_rwlock_t())
    unsafe pthread_rwlock_init(rwlock, &attributes)
    unsafe pthread_rwlockattr_destroy(&attributes)
  }

  func writeLock() { unsafe pthread_rwlock_wrlock(rwlock) }

  func unlock() { unsafe pthread_rwlock_unlock(rwlock) }

  func withWriteLock<R>(_ body: () -> R) -> R {
    writeLock()
    defer { unlock() }
    return body()
  }

  func withReadLock<R>(_ body: () -> R) -> R {
    unsafe pthread_rwlock_rdlock(rwlock)
    defer { unlock() }
    return body()
  }
}
