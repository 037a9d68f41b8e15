internal import CLibBPFShim

extension SwiftTaskSlots {
  /// Binds synchronously. In a Swift task that is a task-local like any other. Elsewhere the runtime
  /// keeps task-locals in another place, and the program finds the thread's own list.
  @usableFromInline
  func withThreadScope<Result>(
    _ binding: SwiftTaskBinding,
    _ operation: () throws -> Result
  ) rethrows -> Result {
    if mms_swift_task_is_current() {
      return try local.withValue(binding, operation: operation)
    }
    // As a task-local as well, for what `Task {}` inherits and for withCurrent().
    return try local.withValue(binding) {
      var scope = mms_thread_scope()
      return try withUnsafeMutablePointer(to: &scope) { scope in
        mms_thread_scope_enter(scope, key, binding.tag)
        defer { mms_thread_scope_leave(scope) }
        return try operation()
      }
    }
  }
}
