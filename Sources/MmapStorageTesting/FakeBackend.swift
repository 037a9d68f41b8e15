// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LibBPF
public import MmapStorage
public import SystemPackage

/// A backend in the memory of the process, for unit tests of code that uses
/// ``/MmapStorage/TaskLocalStorage``, on any machine and without privileges.
///
/// Each thread has its own page, as with a real map. The test acts as the BPF program:
///
/// ```swift
/// let fake = try FakeBackend(layoutOf: RequestTag.self)
/// let tags = try TaskLocalStorage<RequestTag>(backend: fake)
///
/// fake.program(on: .current, as: RequestTag.self) { $0.priority = 3 }
/// #expect(try tags.withCurrent { $0.priority } == 3)
/// ```
///
/// All functions may be called from any thread.
public final class FakeBackend: Sendable {
  /// How views access the bytes.
  public enum Access: Sendable, Hashable, CaseIterable {
    /// One load or store for each access, as with `.mapped` and `.userPage`.
    case direct
    /// Views work on a copy, as with `.lookup`.
    case copying
  }

  let choice = BackendChoice(.fake, reason: "the test asked for a fake backend")
  /// The map's name in errors.
  package let mapName: String
  /// The size of a value in bytes.
  package let valueSize: Int

  let access: Access
  let layout: ValueLayout
  let state: ForkSafeMutex<State>

  @safe
  struct State {
    /// The threads' storages.
    var pages: [ThreadID: FakePage] = [:]
    /// The pages that threads are attached to, by address.
    var attachedPages: [UInt: FakePage] = [:]
    var plan: FaultPlan
    var counts: [FaultPlan.Operation: Int] = [:]
    var calls: [Call] = []
    var attached = 0
    var mapIsGone = false
  }

  /// A call that a ``/MmapStorage/TaskLocalStorage`` made.
  public struct Call: Sendable, Hashable {
    /// The operation that was called.
    public var operation: FaultPlan.Operation
    /// The thread whose value was accessed.
    public var thread: ThreadID
    /// The error from the fault plan, if there is one.
    public var fault: Errno?
  }

  /// Creates a backend whose map has the layout of a Swift type.
  ///
  /// - Parameters:
  ///   - type: The value's type.
  ///   - name: The map's name in errors.
  ///   - access: How views access the bytes.
  ///   - faults: Which calls fail.
  /// - Throws: ``/MmapStorage/BPFError`` if the type has no layout.
  public convenience init<Value: MapField>(
    layoutOf type: Value.Type,
    name: String = "fake",
    access: Access = .direct,
    faults: FaultPlan = FaultPlan()
  ) throws(BPFError) {
    let stride = MemoryLayout<Value>.stride
    self.init(
      layout: ValueLayout(name: "\(type)", type: try type.fieldType()),
      valueSize: stride,
      name: name,
      access: access,
      faults: faults
    )
  }

  /// Creates a backend whose map has the layout of a map in a BPF object file. The
  /// object is not loaded, so this needs no privileges.
  ///
  /// - Parameters:
  ///   - map: The map's name.
  ///   - object: The object.
  ///   - access: How views access the bytes.
  ///   - faults: Which calls fail.
  /// - Throws: ``/MmapStorage/BPFError`` if the object has no such map or no type information, or if
  ///   the map is not of task storage.
  public convenience init(
    map: String,
    of object: BPFObject,
    access: Access = .direct,
    faults: FaultPlan = FaultPlan()
  ) throws(BPFError) {
    let layout = try object.layout(ofMap: map)
    let type = try object.declaredMap(map, attempt: "create a fake").type
    try requireTaskStorage(type, of: "map '\(map)' of object '\(object.name)'")
    self.init(
      layout: layout,
      valueSize: layout.type.size,
      name: map,
      access: access,
      faults: faults
    )
  }

  init(layout: ValueLayout, valueSize: Int, name: String, access: Access, faults: FaultPlan) {
    self.layout = layout
    self.valueSize = valueSize
    self.access = access
    mapName = name
    state = ForkSafeMutex(State(plan: faults), rank: .fake)
  }

  // MARK: The BPF side

  /// Acts as a BPF program that runs on a thread: calls `body` with a view of that thread's value.
  ///
  /// By default, the value is created if there is none. With user pages, a program
  /// gets `NULL` until the thread has called `withCurrent`. Pass `false` for `create` to test this.
  ///
  /// - Parameters:
  ///   - thread: The thread.
  ///   - type: The value's type.
  ///   - create: Whether to create the value if there is none (`BPF_LOCAL_STORAGE_GET_F_CREATE`).
  ///   - body: The program.
  /// - Returns: The result of `body`; `nil` if there is no value and `create` is `false`.
  /// - Precondition: `Value` is not larger than the map's value.
  @discardableResult
  public func program<Value: MapField, Result>(
    on thread: ThreadID,
    as type: Value.Type,
    create: Bool = true,
    _ body: (borrowing StorageView<Value>) -> Result
  ) -> Result? {
    precondition(
      MemoryLayout<Value>.size <= valueSize,
      "\(Value.self) is larger than \(describedMap)"
    )
    return page(of: thread, create: create).map { $0.withView(body) }
  }

  /// Writes bytes to a thread's value. Creates the value, with zeros elsewhere, if there is none.
  ///
  /// - Precondition: The bytes lie within the value.
  package func write(_ bytes: [UInt8], at offset: Int = 0, into thread: ThreadID) {
    precondition(
      offset >= 0 && offset + bytes.count <= valueSize,
      "outside of the \(valueSize) bytes"
    )
    page(of: thread, create: true)?.write(bytes, at: offset)
  }

  /// Returns a copy of a thread's value; `nil` if there is none.
  package func bytes(of thread: ThreadID) -> [UInt8]? {
    page(of: thread, create: false)?.bytes
  }

  /// Removes a thread's value, as another process could. A thread that is attached keeps its page, as with a real
  /// map, and ``/MmapStorage/TaskLocalStorage/verifyMapping()`` returns ``/MmapStorage/MappingState/removed``.
  /// To test a removal by the process itself, use ``/MmapStorage/TaskLocalStorage/removeValue(of:)``.
  ///
  /// - Returns: Whether there was a value.
  @discardableResult
  public func removeValue(of thread: ThreadID) -> Bool {
    state.withLock { $0.pages.removeValue(forKey: thread) != nil }
  }

  /// Replaces a thread's value by a new one with zeros, as a process with write access to the map could. A
  /// thread that is attached keeps its page, and
  /// ``/MmapStorage/TaskLocalStorage/verifyMapping()`` returns ``/MmapStorage/MappingState/foreign``.
  public func replaceValue(of thread: ThreadID) {
    state.withLock { state in
      if !state.mapIsGone { state.pages[thread] = FakePage(size: valueSize, isForeign: true) }
    }
  }

  /// Removes the map. Every later call fails with `EBADF`, as with a closed descriptor, also on
  /// attached threads. A view that a thread is using keeps its bytes until it ends.
  public func removeMap() {
    state.withLock {
      $0.mapIsGone = true
      $0.pages = [:]
    }
    ThreadRegistry.shared.invalidateStorages(observedBy: self)
  }

  // MARK: The record

  /// The calls so far, in order.
  public var calls: [Call] { state.withLock { $0.calls } }

  /// The number of threads that are attached.
  package var attachedThreads: Int { state.withLock { $0.attached } }

  /// The number of threads that have a value.
  package var storageCount: Int { state.withLock { $0.pages.count } }

  // MARK: Implementation

  var describedMap: String { "map '\(mapName)'" }

  func remove(_ task: TaskReference) throws(BPFError) -> Bool {
    removeValue(of: try record(.delete, "delete the value", task))
  }

  func page(of thread: ThreadID, create: Bool) -> FakePage? {
    state.withLock { state in
      if let page = state.pages[thread] { return page }
      guard create, !state.mapIsGone else { return nil }
      let page = FakePage(size: valueSize)
      state.pages[thread] = page
      return page
    }
  }

  /// Records a call and throws if the plan contains a fault for it. Returns the thread of the task.
  @discardableResult
  func record(_ operation: FaultPlan.Operation, _ attempt: String, _ task: TaskReference)
    throws(BPFError) -> ThreadID
  {
    let thread: ThreadID
    switch task {
    case .callingThread: thread = .current
    case .thread(let id): thread = id
    case .pidfd(let descriptor):
      guard let id = ThreadID(ofPidfd: descriptor) else {
        throw BPFError(
          errno: .badFileDescriptor,
          attempt: attempt,
          on: "\(describedMap) of \(task)"
        )
      }
      thread = id
    }
    let fault: Errno? = state.withLock { state in
      let count = state.counts[operation, default: 0] + 1
      state.counts[operation] = count
      let fault =
        state.mapIsGone ? .badFileDescriptor : state.plan.fault(of: operation, call: count)
      state.calls.append(Call(operation: operation, thread: thread, fault: fault))
      return fault
    }
    if let error = fault ?? (exists(task) ? nil : .noSuchProcess) {
      throw BPFError(errno: error, attempt: attempt, on: "\(describedMap) of \(task)")
    }
    return thread
  }

  /// Whether the thread exists, or the test created a value for it.
  private func exists(_ task: TaskReference) -> Bool {
    guard case .thread(let id) = task, page(of: id, create: false) == nil else { return true }
    return id.rawValue > 0 && (kill(id.rawValue, 0) == 0 || errno != ESRCH)
  }
}
