internal import Glibc

/// A lock for many at once, or for one alone, who goes before any who come later. It may be held
/// alone across `fork`, and is made new in the child.
final class ForkSafeSharedLock: Sendable {
  private nonisolated(unsafe) let rwlock: UnsafeMutablePointer<pthread_rwlock_t>

  init() {
    rwlock = .allocate(capacity: 1)
    makeNew()
  }

  deinit {
    pthread_rwlock_destroy(rwlock)
    rwlock.deallocate()
  }

  /// Also for the child of a `fork`: the lock knows its owner by a thread id that the child has not.
  func makeNew() {
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

  func lockAlone() { pthread_rwlock_wrlock(rwlock) }

  func unlock() { pthread_rwlock_unlock(rwlock) }

  func withLockAlone<R>(_ body: () -> R) -> R {
    lockAlone()
    defer { unlock() }
    return body()
  }

  func withLockShared<R>(_ body: () -> R) -> R {
    pthread_rwlock_rdlock(rwlock)
    defer { unlock() }
    return body()
  }
}
