// SPDX-License-Identifier: Apache-2.0
import Glibc

// Invariant: each lock of the C library has one address from `init` to `deinit`, where no thread
// holds it.

/// A mutual-exclusion lock that a forking thread may hold across `fork` and release in the child.
///
/// The standard library's `Mutex` traps there: it stores its owner's thread id.
package final class ForkSafeLock: Sendable {
  private let mutex: PthreadMutex
  private let rank: ForkRank?

  /// - Parameter rank: Where `fork` acquires the lock. Nil for a lock that no thread needs in the
  ///   child, or that another participant acquires.
  package init(rank: ForkRank? = nil) {
    mutex = PthreadMutex()
    self.rank = rank
    if let rank { ForkParticipants.add(mutex, rank: rank) }
  }

  deinit {
    if let rank { ForkParticipants.remove(mutex, rank: rank) }
  }

  package func lock() { unsafe pthread_mutex_lock(mutex.pointer) }

  package func unlock() { unsafe pthread_mutex_unlock(mutex.pointer) }

  package func withLock<R: ~Copyable, E: Error>(_ body: () throws(E) -> R) throws(E) -> R {
    lock()
    defer { unlock() }
    return try body()
  }

  /// Waits until another thread calls ``ForkSafeCondition/wakeAll()``. The caller holds the lock,
  /// which is released meanwhile. May return early.
  package func wait(for condition: ForkSafeCondition) {
    unsafe pthread_cond_wait(condition.pointer, mutex.pointer)
  }
}

/// A value that a ``ForkSafeLock`` guards. Replaces `Mutex`.
package final class ForkSafeMutex<Value>: @unchecked Sendable {
  private let lock: ForkSafeLock
  private var value: Value

  package init(_ value: Value, rank: ForkRank? = nil) {
    self.value = value
    lock = ForkSafeLock(rank: rank)
  }

  /// Guards the value with a lock that also guards other values.
  package init(_ value: Value, sharing lock: ForkSafeLock) {
    self.value = value
    self.lock = lock
  }

  package func withLock<R: ~Copyable, E: Error>(
    _ body: (inout Value) throws(E) -> R
  ) throws(E) -> R {
    lock.lock()
    defer { lock.unlock() }
    return try body(&value)
  }

  /// Acquires the lock, and keeps it if `body` returns true.
  func lock(if body: (inout Value) -> Bool) -> Bool {
    lock.lock()
    let isKept = body(&value)
    if !isKept { lock.unlock() }
    return isKept
  }

  /// Releases the lock, which the caller holds, after `body`.
  func unlock<R>(_ body: (inout Value) -> R) -> R {
    defer { lock.unlock() }
    return body(&value)
  }
}

/// A condition variable for a ``ForkSafeLock``.
@safe
package final class ForkSafeCondition: Sendable {
  fileprivate nonisolated(unsafe) let pointer: UnsafeMutablePointer<pthread_cond_t>

  package init() {
    unsafe pointer = .allocate(capacity: 1)
    reset()
  }

  deinit {
    unsafe pthread_cond_destroy(pointer)
    unsafe pointer.deallocate()
  }

  /// Also used in the child of a `fork`, where the waiting threads do not exist.
  package func reset() {
    unsafe pointer.initialize(to: pthread_cond_t())
    unsafe pthread_cond_init(pointer, nil)
  }

  package func wakeAll() { unsafe pthread_cond_broadcast(pointer) }
}

/// The mutex, which `fork` keeps alive while it holds it.
@safe
private final class PthreadMutex: ForkParticipant {
  nonisolated(unsafe) let pointer: UnsafeMutablePointer<pthread_mutex_t>

  init() {
    unsafe pointer = .allocate(capacity: 1)
    unsafe pointer.initialize(to: pthread_mutex_t())
    unsafe pthread_mutex_init(pointer, nil)
  }

  deinit {
    unsafe pthread_mutex_destroy(pointer)
    unsafe pointer.deallocate()
  }

  func prepareForFork() { unsafe pthread_mutex_lock(pointer) }

  func resumeInParent() { unsafe pthread_mutex_unlock(pointer) }

  func resumeInChild() { unsafe pthread_mutex_unlock(pointer) }
}

/// A reader-writer lock that prefers writers. A forking thread may hold it for writing across
/// `fork`; the child calls ``reset()`` instead of ``unlock()``.
@safe
package final class ForkSafeSharedLock: Sendable {
  private nonisolated(unsafe) let rwlock: UnsafeMutablePointer<pthread_rwlock_t>

  package init() {
    unsafe rwlock = .allocate(capacity: 1)
    reset()
  }

  deinit {
    unsafe pthread_rwlock_destroy(rwlock)
    unsafe rwlock.deallocate()
  }

  /// Initializes the lock again. In the child of a `fork` it still contains the parent's thread id.
  package func reset() {
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

  package func writeLock() { unsafe pthread_rwlock_wrlock(rwlock) }

  package func unlock() { unsafe pthread_rwlock_unlock(rwlock) }

  package func withWriteLock<R>(_ body: () -> R) -> R {
    writeLock()
    defer { unlock() }
    return body()
  }

  package func withReadLock<R>(_ body: () -> R) -> R {
    unsafe pthread_rwlock_rdlock(rwlock)
    defer { unlock() }
    return body()
  }
}
