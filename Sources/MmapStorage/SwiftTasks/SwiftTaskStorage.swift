// SPDX-License-Identifier: Apache-2.0
public import MapValues
internal import Synchronization

// Invariant: a scope holds its lease, and so the slot, until `leave`.

/// Storage of a Swift task, shared with BPF programs.
///
/// A *Swift task* is what Swift's `Task` is, and not a task of the kernel, which is a thread. For
/// storage of threads see ``TaskLocalStorage``.
///
/// ```swift
/// let requests = try await SwiftTaskStorage<Request>(object, "requests")
/// let (response, totals) = try await requests.withValue({ $0.id = 42 }) {
///   try await handle()
/// }
/// ```
///
/// While `handle()` runs, on whatever thread and executor, a BPF program that runs on the same thread
/// gets the value from `swift_task_storage_get(requests)`: after each `await`, in child tasks, in
/// `Task {}`, in actors. The program finds it by itself, so nothing is done when a Swift task
/// changes its thread.
///
/// Child tasks of a Swift task share its value, and may run on several threads at once. Use
/// ``StorageView/atomic`` in Swift and `__sync_fetch_and_add()` in C for fields that more than one
/// of them writes.
///
/// A storage may be used from any thread. It keeps its map open.
public final class SwiftTaskStorage<Value: MapField>: Sendable {
  @usableFromInline
  let slots: SwiftTaskSlots

  init(_ slots: SwiftTaskSlots) {
    self.slots = slots
  }

  /// How many scopes found all slots in use, since the process began to use the map.
  ///
  /// Such a scope runs as any other does, but has no value: programs see none, ``withCurrent(_:)``
  /// returns nil, and there is no snapshot.
  public var overflowCount: Int { slots.overflows.load(ordering: .relaxed) }

  // MARK: Scopes

  /// Runs `operation` with a value of its own.
  ///
  /// The scope is that of a `TaskLocal`: what `operation` calls and awaits, its child tasks, and what
  /// it starts with `Task {}`; not `Task.detached`. In an inner scope of the same storage the inner
  /// value is seen, and after it the outer again.
  ///
  /// A `Task {}` that outlives the scope keeps the value, and programs go on writing to it. The value
  /// is final when the last such Swift task has ended; `onEnd` gets it then.
  ///
  /// Costs no system call, no allocation but for the first scope of a slot and for `onEnd`, and less than
  /// twice what `TaskLocal.withValue` does. Where all slots are in use `operation` runs without a value;
  /// see ``overflowCount``.
  ///
  /// - Parameters:
  ///   - prepare: Writes the value's first content, before programs see it. The value is zero before.
  ///   - onEnd: Called once with the final value, on the thread where the last holder gave it up. Not
  ///     called where there was no slot.
  ///   - operation: What runs in the scope.
  ///   - isolation: The actor that the call runs on.
  /// - Returns: What `operation` returned, and a copy of the value at the end of the scope; nil
  ///   where there was no slot.
  /// - Throws: What `operation` threw.
  @inlinable
  @discardableResult
  public func withValue<Result>(
    _ prepare: (borrowing StorageView<Value>) -> Void,
    onEnd: (@Sendable (Value) -> Void)? = nil,
    operation: () async throws -> Result,
    isolation: isolated (any Actor)? = #isolation
  ) async rethrows -> (result: Result, snapshot: Value?) {
    let lease = unsafe begin(prepare, onEnd)
    defer { unsafe slots.leave(lease) }
    let result = try await unsafe within(lease, operation)
    return unsafe (result, snapshot(lease))
  }

  /// Runs synchronous code with a value of its own: a callback of an event loop, say, or a block of
  /// Dispatch.
  ///
  /// As the other `withValue`. In a Swift task the scope is the Swift task's. Outside of any it is the
  /// thread's, until `operation` returns; `Task {}` inherits it. While a Swift task is current on the
  /// thread, only its own scopes count, and not the thread's.
  ///
  /// - Parameters:
  ///   - prepare: Writes the value's first content, before programs see it. The value is zero before.
  ///   - onEnd: Called once with the final value.
  ///   - operation: What runs in the scope.
  /// - Returns: What `operation` returned, and a copy of the value at the end of the scope; nil
  ///   where there was no slot.
  /// - Throws: What `operation` threw.
  @inlinable
  @discardableResult
  public func withValue<Result>(
    _ prepare: (borrowing StorageView<Value>) -> Void,
    onEnd: (@Sendable (Value) -> Void)? = nil,
    operation: () throws -> Result
  ) rethrows -> (result: Result, snapshot: Value?) {
    let lease = unsafe begin(prepare, onEnd)
    defer { unsafe slots.leave(lease) }
    let result = try unsafe slots.withThreadScope(lease, operation)
    return unsafe (result, snapshot(lease))
  }

  /// Runs `body` with a view of the value that programs see now.
  ///
  /// The value is that of the innermost scope of the current Swift task, or of the thread outside of
  /// any. The view cannot leave `body`, which is synchronous. Costs a lookup of a task-local; each
  /// access to a field is one load or store.
  ///
  /// - Parameter body: Reads and writes the fields.
  /// - Returns: What `body` returned; nil outside of any scope, and where there was no slot.
  /// - Throws: What `body` threw.
  @inlinable
  @discardableResult
  public func withCurrent<Result, Failure: Error>(
    _ body: (borrowing StorageView<Value>) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    guard let lease = slots.local.get().lease else { return nil }
    defer { withExtendedLifetime(lease) {} }
    return unsafe try body(StorageView(at: FieldAddress(lease.address), copy: nil))
  }

  // MARK: Parts of the above

  @inlinable
  @inline(__always)
  func within<Result>(
    _ lease: Unmanaged<SwiftTaskLease>?,
    _ operation: () async throws -> Result,
    isolation: isolated (any Actor)? = #isolation
  ) async rethrows -> Result {
    unsafe slots.bind(lease)
    defer { slots.unbind() }
    return try await operation()
  }

  @inlinable
  func begin(
    _ prepare: (borrowing StorageView<Value>) -> Void,
    _ onEnd: (@Sendable (Value) -> Void)?
  ) -> Unmanaged<SwiftTaskLease>? {
    let lease =
      if let onEnd {
        unsafe slots.enter {
          unsafe onEnd(StorageView<Value>(at: FieldAddress($0), copy: nil).load())
        }
      } else {
        unsafe slots.enter(onEnd: nil)
      }
    if let lease = unsafe lease {
      unsafe prepare(
        StorageView(
          at: FieldAddress(lease._withUnsafeGuaranteedRef { unsafe $0.address }),
          copy: nil
        )
      )
    } else {
      prepareNothing(prepare)
    }
    return unsafe lease
  }

  /// `prepare` runs in any case: it may do more than to write fields.
  @usableFromInline
  func prepareNothing(_ prepare: (borrowing StorageView<Value>) -> Void) {
    unsafe withUnsafeTemporaryAllocation(
      byteCount: max(MemoryLayout<Value>.size, 1),
      alignment: max(MemoryLayout<Value>.alignment, 16)
    ) { bytes in
      guard let start = bytes.baseAddress else { return }
      unsafe bytes.initializeMemory(as: UInt8.self, repeating: 0)
      unsafe prepare(StorageView(at: FieldAddress(start), copy: nil))
    }
  }

  @inlinable
  func snapshot(_ lease: Unmanaged<SwiftTaskLease>?) -> Value? {
    guard let lease = unsafe lease else { return nil }
    let address = unsafe lease._withUnsafeGuaranteedRef { unsafe $0.address }
    return unsafe StorageView<Value>(at: FieldAddress(address), copy: nil).load()
  }
}
