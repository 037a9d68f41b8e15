// SPDX-License-Identifier: Apache-2.0
public import MmapStorage

/// Storage of Swift tasks in the memory of the process, for unit tests of code that uses
/// ``/MmapStorage/SwiftTaskStorage``, on any machine and without privileges.
///
/// The test acts as the BPF program, on the thread that runs the code under test:
///
/// ```swift
/// let fake = try FakeSwiftTasks<Request>()
/// let (_, totals) = await fake.storage.withValue({ $0.id = 42 }) {
///   await Task.yield()
///   fake.program { $0.calls += 1 }
/// }
/// #expect(totals?.calls == 1)
/// ```
///
/// All functions may be called from any thread.
public final class FakeSwiftTasks<Value: MapField>: Sendable {
  /// The storage, for the code under test.
  public let storage: SwiftTaskStorage<Value>

  /// Creates a storage.
  ///
  /// - Parameter slots: The number of scopes that may have a value at the same time. Pass a small number to
  ///   test scopes without a value.
  /// - Throws: ``/MmapStorage/BPFError`` if the type has no layout.
  /// - Precondition: There is at least one slot, and not more than 2^24.
  public init(slots: Int = 64) throws(BPFError) {
    precondition(slots > 0 && slots <= 1 << 24, "give 1 to 2^24 slots")
    _ = try Value.fieldType()
    storage = SwiftTaskStorage(slots: slots) { FakeSwiftTaskMemory(size: $0) }
  }

  /// Creates a storage, and compares its layout with that of a storage that a BPF object declares with
  /// `SWIFT_TASK_STORAGE`. The object is not loaded, so this needs no privileges.
  ///
  /// - Parameters:
  ///   - object: The object.
  ///   - name: The storage's name in the program's source.
  ///   - slots: The number of scopes that may have a value at the same time.
  ///   - policy: Whether the declared value may have trailing fields that `Value` does not have.
  /// - Throws: ``/MmapStorage/BPFError``: a mismatch with the table, or an error if there is no
  ///   such storage.
  /// - Precondition: There is at least one slot, and not more than 2^24.
  public convenience init(
    _ object: BPFObject,
    _ name: String,
    slots: Int = 64,
    policy: LayoutPolicy = .exact
  ) throws(BPFError) {
    try SwiftTaskStorage<Value>.checkLayout(of: object, name, policy: policy)
    try self.init(slots: slots)
  }

  /// Acts as a BPF program that runs on the calling thread: calls `body` with a view of the value that
  /// `swift_task_storage_get()` returns there.
  ///
  /// - Parameter body: The program.
  /// - Returns: The result of `body`; `nil` outside of any scope, and in a scope without a slot.
  @discardableResult
  public func program<Result>(_ body: (borrowing StorageView<Value>) -> Result) -> Result? {
    storage.withCurrent(body)
  }
}
