// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Passes a value from one thread to another.
///
/// Its lock is one of the C library's, because ThreadSanitizer does not detect the ordering by
/// Synchronization's `Mutex`.
package final class Box<Value: Sendable>: Sendable {
  private nonisolated(unsafe) var value: Value
  private nonisolated(unsafe) let lock: UnsafeMutablePointer<pthread_mutex_t>

  package init(_ value: Value) {
    self.value = value
    lock = .allocate(capacity: 1)
    pthread_mutex_init(lock, nil)
  }

  deinit {
    pthread_mutex_destroy(lock)
    lock.deallocate()
  }

  package func set(_ newValue: Value) { change { $0 = newValue } }

  package func get() -> Value {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    return value
  }

  package func change(_ body: (inout Value) throws -> Void) rethrows {
    pthread_mutex_lock(lock)
    defer { pthread_mutex_unlock(lock) }
    try body(&value)
  }
}
