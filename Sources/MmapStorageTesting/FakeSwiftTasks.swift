// SPDX-License-Identifier: Apache-2.0
public import MmapStorage

/// Storage of Swift tasks in the memory of the process: for unit tests of code that uses
/// ``/MmapStorage/SwiftTaskStorage``, on any machine and without privileges.
///
/// The test takes the part of the BPF program, on the thread that runs the code under test:
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
  /// What the code under test gets.
  public let storage: SwiftTaskStorage<Value>

  /// Creates a storage.
  ///
  /// - Parameter slots: How many scopes may have a value at the same time; give few to test what
  ///   happens without one.
  /// - Throws: ``/MmapStorage/BPFError`` if the type has no layout.
  /// - Precondition: There is at least one slot, and not more than 2^24.
  public init(slots: Int = 64) throws(BPFError) {
    precondition(slots > 0 && slots <= 1 << 24, "give 1 to 2^24 slots")
    _ = try Value.fieldType()
    storage = SwiftTaskStorage(fakeWith: slots)
  }

  /// Creates a storage whose layout is checked against what a BPF object declares with
  /// `SWIFT_TASK_STORAGE`. The object is not loaded, so no privilege is needed.
  ///
  /// - Parameters:
  ///   - object: The object.
  ///   - name: The storage's name in the program's source.
  ///   - slots: How many scopes may have a value at the same time.
  ///   - policy: Whether the declared value may have trailing fields that `Value` does not know.
  /// - Throws: ``/MmapStorage/BPFError``: a mismatch with the table, or that there is no such storage.
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

  /// Takes the part of a BPF program that runs on the calling thread: `body` gets a view of what
  /// `swift_task_storage_get()` gives there.
  ///
  /// - Parameter body: The program.
  /// - Returns: What `body` returned; nil outside of any scope, and in one without a slot.
  @discardableResult
  public func program<Result>(_ body: (borrowing StorageView<Value>) -> Result) -> Result? {
    storage.withCurrent(body)
  }
}
