// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import Synchronization

/// A descriptor that one thread uses and that any thread may close while it is not in use.
struct CachedDescriptor: ~Copyable {
  /// -1 for none; otherwise twice the descriptor, plus one while it is in use.
  private let state = Atomic<Int64>(-1)

  /// Runs `body` with the descriptor, or returns nil if there is none. Call only on the owning
  /// thread.
  func withDescriptor<R>(_ body: (Int32) -> R) -> R? {
    let idle = state.load(ordering: .relaxed)
    guard idle >= 0,
      state.compareExchange(expected: idle, desired: idle | 1, ordering: .acquiringAndReleasing)
        .exchanged
    else { return nil }
    defer { state.store(idle, ordering: .releasing) }
    return body(Int32(idle >> 1))
  }

  /// Stores a descriptor. Call only on the owning thread, and only while there is none.
  func fill(_ descriptor: Int32) {
    state.store(Int64(descriptor) << 1, ordering: .releasing)
  }

  /// Closes the descriptor unless it is in use. Returns whether it was closed.
  func closeIfIdle() -> Bool {
    let idle = state.load(ordering: .relaxed)
    guard idle >= 0, idle & 1 == 0,
      state.compareExchange(expected: idle, desired: -1, ordering: .acquiringAndReleasing).exchanged
    else { return false }
    close(Int32(idle >> 1))
    return true
  }

  /// Closes the descriptor, in use or not. In the child of a `fork`, its user does not exist.
  func closeInChild() {
    let descriptor = state.exchange(-1, ordering: .acquiringAndReleasing)
    if descriptor >= 0 { close(Int32(descriptor >> 1)) }
  }
}
