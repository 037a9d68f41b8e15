// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues
internal import Synchronization

// Invariant: a scope holds its lease, and so keeps the slot, until `leave`.

/// Storage of a Swift task, shared with BPF programs.
///
/// A *Swift task* is an instance of Swift's `Task`, not a task of the kernel, which is a thread. For
/// storage of threads, see ``TaskLocalStorage``.
///
/// ```swift
/// let requests = try await SwiftTaskStorage<Request>(object, "requests")
/// let (response, totals) = try await requests.withValue({ $0.id = 42 }) {
///   try await handle()
/// }
/// ```
///
/// While `handle()` runs, on any thread and executor, a BPF program that runs on the same thread
/// gets the value from `swift_task_storage_get(requests)`: after each `await`, in child tasks, in
/// `Task {}`, and in actors. No code runs when a Swift task moves to another thread.
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

  /// The number of scopes for which no slot was free, since the process began to use the map.
  ///
  /// Such a scope runs without a value: programs get `NULL`, and ``withCurrent(_:)`` and the copy at the end
  /// are `nil`.
  public var overflowCount: Int { slots.overflows.load(ordering: .relaxed) }

  /// The number of times that programs got `NULL` because the kernel could not read the memory of this process,
  /// since the process began to use the map.
  ///
  /// A BPF program does not wait for a page that is not in memory, or that the kernel is moving, for example to a
  /// huge page (`khugepaged`). The value of the scope then lacks the program's update. A lookup outside of any
  /// scope is counted as well. At most 2^32 - 1. Costs one system call. Zero without a kernel.
  ///
  /// - Returns: The number, of all threads together.
  /// - Throws: ``BPFError``.
  public func unreadableCount() throws(BPFError) -> Int { try slots.memory.unreadableCount() }

  // MARK: Scopes

  /// Runs `operation` in a scope with a new value.
  ///
  /// The scope is that of a `TaskLocal`: the code that `operation` calls and awaits, its child tasks, and each
  /// `Task {}` that it starts, but not `Task.detached`. In an inner scope of the same storage, programs find the
  /// inner value, and after it the outer value again.
  ///
  /// If a `Task {}` outlives the scope, programs continue to write to the value. The value
  /// is final when the last such Swift task has ended, and is then passed to `onEnd`.
  ///
  /// Costs no system call, and less than twice the time of `TaskLocal.withValue`. Allocates memory only for the
  /// first scope of a slot and for `onEnd`. If no slot is free, `operation` runs without a value; see
  /// ``overflowCount``.
  ///
  /// - Parameters:
  ///   - prepare: Initializes the value, which is zero, before programs can access it.
  ///   - onEnd: Called once with the final value, on the thread that releases it last. Not called if there was
  ///     no slot.
  ///   - operation: The code to run in the scope.
  ///   - isolation: The actor that the call runs on.
  /// - Returns: The result of `operation`, and a copy of the value at the end of the scope, which is `nil`
  ///   if there was no slot.
  /// - Throws: The error of `operation`.
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

  /// Runs synchronous code in a scope with a new value, for example a callback of an event loop or a block of
  /// Dispatch.
  ///
  /// In a Swift task, the scope belongs to the Swift task, as with the other `withValue`. Outside of any Swift
  /// task, it belongs to the thread until `operation` returns, and `Task {}` inherits it. While a Swift task
  /// runs on the thread, programs use the scopes of the Swift task, not those of the thread.
  ///
  /// - Parameters:
  ///   - prepare: Initializes the value, which is zero, before programs can access it.
  ///   - onEnd: Called once with the final value.
  ///   - operation: The code to run in the scope.
  /// - Returns: The result of `operation`, and a copy of the value at the end of the scope, which is `nil`
  ///   if there was no slot.
  /// - Throws: The error of `operation`.
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

  /// Runs `body` with a view of the value of the current scope.
  ///
  /// This is the innermost scope of the current Swift task or, outside of any Swift task, of the thread. The
  /// view cannot escape from `body`, which is synchronous. Costs a lookup of a task-local; each
  /// access to a field is one load or store.
  ///
  /// - Parameter body: Reads and writes the fields.
  /// - Returns: The result of `body`; `nil` outside of any scope, and in a scope without a slot.
  /// - Throws: The error of `body`.
  @inlinable
  @discardableResult
  public func withCurrent<Result, Failure: Error>(
    _ body: (borrowing StorageView<Value>) throws(Failure) -> Result
  ) throws(Failure) -> Result? {
    guard let lease = slots.local.get().lease else { return nil }
    defer { withExtendedLifetime(lease) {} }
    return unsafe try body(StorageView(at: FieldAddress(lease.address), copy: nil))
  }

  // MARK: Implementation

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

  /// `prepare` runs in any case, because it may have other effects than writing fields.
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
