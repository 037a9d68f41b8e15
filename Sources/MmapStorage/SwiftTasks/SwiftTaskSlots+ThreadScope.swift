// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim

extension SwiftTaskSlots {
  /// Binds synchronously. In a Swift task that is a task-local like any other. Elsewhere the runtime
  /// keeps task-locals in another place, and the program finds the thread's own list.
  @inlinable
  func withThreadScope<Result>(
    _ lease: Unmanaged<SwiftTaskLease>?,
    _ operation: () throws -> Result
  ) rethrows -> Result {
    // Outside of a Swift task as well, for what `Task {}` inherits and for withCurrent().
    unsafe bind(lease)
    defer { unbind() }
    if Self.isInSwiftTask { return try operation() }
    var scope = mms_thread_scope()
    return try unsafe withUnsafeMutablePointer(to: &scope) { scope in
      unsafe enterThread(scope, lease)
      defer { unsafe leaveThread(scope) }
      return try operation()
    }
  }

  @usableFromInline
  static var isInSwiftTask: Bool { unsafe mms_swift_task_current() != nil }

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
