// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim

// Invariant: a scope is on the stack of the function that enters and leaves it, and holds its
// lease.

extension SwiftTaskSlots {
  /// Binds synchronously: the task-local, and the thread's own list. Programs read the list only if
  /// no Swift task runs on the thread, because the runtime then stores task-locals in another place.
  @inlinable
  func withThreadScope<Result>(
    _ lease: Unmanaged<SwiftTaskLease>?,
    _ operation: () throws -> Result
  ) rethrows -> Result {
    // Also bound outside of a Swift task, because `Task {}` inherits it and withCurrent() reads it.
    unsafe bind(lease)
    defer { unbind() }
    var scope = mms_thread_scope()
    return try unsafe withUnsafeMutablePointer(to: &scope) { scope in
      unsafe enterThread(scope, lease)
      defer { unsafe leaveThread(scope) }
      return try operation()
    }
  }

  /// The same with the lease of a binding, which keeps the lease alive.
  func withThreadScope<Result>(_ binding: SwiftTaskBinding, _ operation: () -> Result) -> Result {
    unsafe withThreadScope(binding.lease.map { unsafe .passUnretained($0) }, operation)
  }

  /// Runs `body` with a binding of a new slot, or of no slot if all are in use.
  func withBinding<Result>(_ body: (SwiftTaskBinding) async -> Result) async -> Result {
    let lease = unsafe enter(onEnd: nil)
    defer { unsafe leave(lease) }
    return await body(unsafe SwiftTaskBinding(lease))
  }

  @usableFromInline
  func enterThread(
    _ scope: UnsafeMutablePointer<mms_thread_scope>,
    _ lease: Unmanaged<SwiftTaskLease>?
  ) {
    unsafe mms_thread_scope_enter(scope, key, SwiftTaskBinding(lease).tag)
  }

  @usableFromInline
  func leaveThread(_ scope: UnsafeMutablePointer<mms_thread_scope>) {
    unsafe mms_thread_scope_leave(scope)
  }
}
