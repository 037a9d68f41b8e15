// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim
public import LibBPF
public import MapValues
public import SystemPackage

// Invariant: an address from a slot or an attachment is that of a value of the map's size, which the
// layout check compared with `Value`, and stays valid while the view exists: the view keeps the
// storage.

/// One map's task-local storage, with a typed view for the calling thread and copies for others.
///
/// Every thread that uses the storage sees its own value; a BPF program sees the same bytes through
/// `bpf_task_storage_get`. The layout of `Value` is checked against the map's BTF when the storage
/// is created, field by field.
///
/// ```swift
/// let tags = try TaskLocalStorage<RequestTag>(map: object.map("request_tags"))
/// try tags.withCurrent { tag in
///   tag.requestID = 42
/// }
/// ```
///
/// A storage may be used from any thread, several at once. It keeps its map open. A thread's
/// attachment ends with the thread or with the storage, whichever is first. In the child of a
/// `fork` the storage is usable and the child's thread starts unattached.
///
/// ## Signal handlers, cancellation and limits
///
/// `withCurrent(_:)` is async-signal-safe on a thread that is attached to a storage with a direct
/// backend (``BackendKind/mapped``, ``BackendKind/userPage``): it reads two words of memory and calls
/// nothing. Everything else here is not: a first touch, every view with ``BackendKind/lookup``, calls
/// for other tasks, and creating or releasing a storage acquire locks and memory. If a handler
/// interrupts one of these on its own thread and calls another one, that throws
/// ``BPFError/Kind/wrongState`` instead of waiting for itself. A handler that interrupts `malloc` or
/// another library must not attach at all, as with any function that is not async-signal-safe. The
/// handler's own code must not allocate either; debug builds do so in a `for` loop over an array.
///
/// A thread is not cancelled (`pthread_cancel`) inside of the library.
///
/// A process may have 16,384 storages at a time. What a storage costs does not depend on how many
/// there are.
public final class TaskLocalStorage<Value: MapField>: Sendable {
  /// Where a thread's block is, relative to its thread pointer.
  @usableFromInline
  let threadOffset: UInt

  /// Where the storage's slot is in a thread's table, in bytes.
  @usableFromInline
  let slotOffset: UInt

  private let registry: ThreadRegistry
  private let index: Int
  private let access: ValueAccess
  private let implementation: any StorageBackend
  private let fields: [Range<Int>]
  private let booleans: [Int]

  /// Which backend is in use, and why.
  public var backend: BackendChoice { implementation.choice }

  // MARK: Creating

  /// Creates a storage over a backend, and checks the layout of `Value` against the backend's.
  ///
  /// - Parameters:
  ///   - backend: Gives access to the bytes.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  /// - Throws: ``BPFError``: ``BPFError/Kind/layoutMismatch`` with the table in
  ///   ``BPFError/details``, or that one of the layouts cannot be had.
  package init(backend: any StorageBackend, policy: LayoutPolicy = .exact) throws(BPFError) {
    let type = try Value.fieldType()
    try LayoutComparison(
      swift: type,
      swiftName: "\(Value.self)",
      map: try backend.valueLayout().type,
      mapName: backend.mapName,
      policy: policy
    ).check()
    guard backend.valueSize >= MemoryLayout<Value>.size else {
      throw BPFError(
        .layoutMismatch,
        attempt: "use \(Value.self) (\(MemoryLayout<Value>.size) bytes)",
        on: backend.describedMap,
        advice: "the map's value has only \(backend.valueSize) bytes; the layout that was compared "
          + "is not this map's"
      )
    }
    implementation = backend
    fields = scalarRanges(of: type)
    booleans = booleanOffsets(of: type)
    access = backend.access
    registry = .shared
    threadOffset = registry.threadOffset
    index = try ThreadRegistry.shared.withSlowPath { [access] () throws(BPFError) in
      try ThreadRegistry.shared.addStorage(access, of: backend.describedMap)
    }
    slotOffset = unsafe UInt(index * MemoryLayout<mms_slot>.stride)
  }

  /// Creates a storage over a map, with the fastest backend that the map and the kernel allow.
  ///
  /// - Parameters:
  ///   - map: A map of type `BPF_MAP_TYPE_TASK_STORAGE`. The storage keeps it open, also when the
  ///     map is closed elsewhere.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  ///   - layout: The layout of the map's values, where the map cannot tell it: a process without
  ///     CAP_SYS_ADMIN may not read the type information of a map that it was handed, and takes it
  ///     from the object file with ``BPFObject/layout(ofMap:)``.
  ///   - backends: Those that may be used. See ``BPFObject/init(_:allowing:)`` as well: what a map is
  ///     made for is decided there.
  /// - Throws: ``BPFError``: ``BPFError/Kind/wrongType``,
  ///   ``BPFError/Kind/unsupported`` if none of the allowed backends can be used,
  ///   ``BPFError/Kind/layoutMismatch`` with the table in ``BPFError/details``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState`` for a closed map.
  public convenience init(
    map: BPFMap,
    policy: LayoutPolicy = .exact,
    layout: ValueLayout? = nil,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    let backend = try ThreadRegistry.shared.withSlowPath { () throws(BPFError) in
      try selectBackend(for: map, layout: layout, allowing: backends)
    }
    try self.init(backend: backend, policy: policy)
  }

  /// Creates a storage over a map that is pinned on a BPF file system.
  ///
  /// - Parameters:
  ///   - path: Where it is pinned, such as "/sys/fs/bpf/request_tags".
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  ///   - layout: The layout of the map's values, where this process may not read it.
  ///   - backends: Those that may be used.
  /// - Throws: ``BPFError``, as ``BPFMap/init(pinnedAt:readOnly:)`` and
  ///   ``init(map:policy:layout:allowing:)``.
  public convenience init(
    pinnedAt path: FilePath,
    policy: LayoutPolicy = .exact,
    layout: ValueLayout? = nil,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(map: BPFMap(pinnedAt: path), policy: policy, layout: layout, allowing: backends)
  }

  deinit {
    registry.removeStorage(at: index)
  }

  // MARK: The calling thread

  /// Runs `body` with a view of the calling thread's value.
  ///
  /// The first call on a thread attaches it. A value that does not exist yet reads as zero.
  ///
  /// With a direct backend a write is in the map at once. With a backend that copies
  /// (``BackendKind/lookup``), the outermost `withCurrent` of the thread loads the value, and when it
  /// ends writes back the fields that changed and no others; fields that the program changed
  /// meanwhile are kept. Reading alone creates nothing and writes nothing.
  ///
  /// Calls may be nested, on the same storage or another; nested calls on the same storage see
  /// each other's writes. What `body` wrote before it threw stays written.
  ///
  /// Cost once attached: with a direct backend a few instructions, no call and no allocation; with
  /// `.lookup` one system call to load, and one more if something changed.
  ///
  /// - Parameter body: Reads and writes the fields. It is synchronous, and the view cannot leave it.
  ///   It may throw ``BPFError``; with a closure that throws other errors as well, this is the
  ///   overload that throws `any Error`.
  /// - Returns: What `body` returned.
  /// - Throws: ``BPFError`` if the thread cannot be attached, or the value not be loaded or
  ///   written back, and what `body` threw. If `body` threw and writing back failed as well, the
  ///   error is that of writing back, and its ``BPFError/details`` contain the other.
  @inlinable
  @inline(__always)
  public func withCurrent<Result: ~Copyable>(
    _ body: (borrowing StorageView<Value>) throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    if let address = unsafe mms_slot_direct(threadOffset, slotOffset) {
      return try unsafe body(StorageView(at: FieldAddress(address), copy: nil))
    }
    let (address, copy) = try unsafe beginView()
    guard let copy else {
      return try unsafe body(StorageView(at: FieldAddress(address), copy: nil))
    }
    let result: Result
    do throws(BPFError) {
      result = try unsafe body(StorageView(at: FieldAddress(address), copy: copy))
    } catch {
      try end(copy, after: error)
      throw error
    }
    try copy.end()
    return result
  }

  /// Runs `body`, which may throw any error, with a view of the calling thread's value.
  ///
  /// As the other `withCurrent`, which is used where `body` throws nothing or ``BPFError``. There are
  /// two because Swift 6.3 infers `any Error` for a closure that contains a `try`, whatever it
  /// throws: a nested `withCurrent` would need its error type spelled out.
  ///
  /// - Parameter body: Reads and writes the fields.
  /// - Returns: What `body` returned.
  /// - Throws: What `body` threw, or ``BPFError``. If `body` threw and writing back failed as well,
  ///   the error is that of writing back, and its ``BPFError/details`` contain the other.
  @inlinable
  @inline(__always)
  @_disfavoredOverload
  public func withCurrent<Result: ~Copyable>(
    _ body: (borrowing StorageView<Value>) throws -> Result
  ) throws -> Result {
    if let address = unsafe mms_slot_direct(threadOffset, slotOffset) {
      return try unsafe body(StorageView(at: FieldAddress(address), copy: nil))
    }
    let (address, copy) = try unsafe beginView()
    guard let copy else {
      return try unsafe body(StorageView(at: FieldAddress(address), copy: nil))
    }
    let result: Result
    do {
      result = try unsafe body(StorageView(at: FieldAddress(address), copy: copy))
    } catch {
      try end(copy, after: error)
      throw error
    }
    try copy.end()
    return result
  }

  @usableFromInline
  func end(_ copy: ViewedCopy, after error: any Error) throws(BPFError) {
    do throws(BPFError) {
      try copy.end()
    } catch let writeBack {
      var writeBack = writeBack
      if !writeBack.details.isEmpty { writeBack.details += "\n" }
      writeBack.details += "while leaving a closure that had thrown: \(error)"
      throw writeBack
    }
  }

  /// Begins a view where the slot contains no address: attaches the thread, or loads its copy.
  @usableFromInline
  func beginView() throws(BPFError) -> (UnsafeMutableRawPointer, ViewedCopy?) {
    try unsafe registry.withSlowPath { () throws(BPFError) in
      switch access {
      case .direct(let backend):
        return unsafe (try registry.attach(at: index, backend), nil)
      case .copying(let backend):
        let copy = unsafe ViewedCopy(try registry.copy(at: index, backend, fields: fields))
        return unsafe (try copy.begin(), copy)
      }
    }
  }

  // MARK: Any thread

  /// A copy of a task's value; nil if the task has no storage in this map. Not atomic.
  ///
  /// A pidfd of a task that has ended gives nil as well: the kernel does not tell the two apart.
  ///
  /// Cost: a lookup system call, and with ``TaskReference/thread(_:)`` opening and closing a pidfd.
  ///
  /// - Throws: ``BPFError``: ``BPFError/Kind/noSuchTask`` if there is no thread with that id;
  ///   ``BPFError/Kind/unsupported`` for a thread that does not lead its process before
  ///   Linux 6.9.
  public func value(of task: TaskReference) throws(BPFError) -> Value? {
    try registry.withSlowPath { () throws(BPFError) in
      try unsafe withUnsafeTemporaryAllocation(
        byteCount: implementation.valueSize,
        alignment: max(16, MemoryLayout<Value>.alignment)
      ) {
        (bytes) throws(BPFError) in
        guard try unsafe implementation.load(task, into: bytes) else { return nil }
        for offset in booleans where unsafe bytes[offset] > 1 { unsafe bytes[offset] = 1 }
        return unsafe bytes.baseAddress?.load(as: Value.self)
      }
    }
  }

  /// Copies of the values of all tasks, also of those in other processes.
  ///
  /// A BPF task iterator copies the values in the kernel, with every backend. The first call loads it,
  /// which takes about 100 ms. Only tasks in the pid namespace of the calling process are visited. No
  /// field is torn; each value is not copied at one moment, and the values are copied one after the
  /// other.
  ///
  /// Needs CAP_BPF and CAP_PERFMON. ``TaskStorageReader`` does the same without the type of the value.
  ///
  /// - Throws: ``BPFError``: ``BPFError/Kind/permissionDenied``, or that the iterator cannot be loaded.
  /// - Complexity: One step in the kernel for each task of the machine, about 100 ns.
  public func values() throws(BPFError) -> [TaskValue<Value>] {
    try registry.withSlowPath { () throws(BPFError) in
      let found = try implementation.values()
      return found.compactMap { found in
        var bytes = found.bytes
        for offset in booleans where bytes[offset] > 1 { bytes[offset] = 1 }
        let value = unsafe withUnsafeTemporaryAllocation(
          byteCount: max(bytes.count, MemoryLayout<Value>.size),
          alignment: max(16, MemoryLayout<Value>.alignment)
        ) { buffer in
          unsafe buffer.initializeMemory(as: UInt8.self, repeating: 0)
          unsafe buffer.copyBytes(from: bytes)
          return unsafe buffer.baseAddress?.load(as: Value.self)
        }
        return value.map { TaskValue(task: found.task, value: $0) }
      }
    }
  }

  /// Checks that BPF programs use the memory that the calling thread reads and writes.
  ///
  /// A process with write access to the map can remove the thread's value, or, with
  /// ``BackendKind/userPage``, put a page of its own in its place. The thread does not notice, because
  /// it accesses its memory without a system call. This compares the memory with what the map has:
  /// replaced memory is found as soon as one byte differs, so call it after writing a value that others
  /// cannot guess. What changes during the comparison is taken for equal. Attaches the thread if it is
  /// not attached. After another result than ``MappingState/own``,
  /// ``removeValue(of:)-(TaskReference)`` and the next `withCurrent(_:)` connect the thread again.
  ///
  /// With ``BackendKind/userPage`` this needs CAP_BPF and CAP_PERFMON, or a program from a broker. With
  /// ``BackendKind/lookup`` there is nothing to check. Cost: one system call.
  ///
  /// - Throws: ``BPFError``, also if the thread cannot be attached.
  public func verifyMapping() throws(BPFError) -> MappingState {
    try registry.withSlowPath { () throws(BPFError) in
      switch access {
      case .direct(let backend):
        try unsafe backend.mappingState(of: registry.attach(at: index, backend))
      case .copying: .own
      }
    }
  }

  /// A copy of a thread's value by thread id; see ``value(of:)-(TaskReference)``.
  public func value(of thread: ThreadID) throws(BPFError) -> Value? {
    try value(of: .thread(thread))
  }

  /// Overwrites the fields of a task's value and creates its storage if there is none. Not atomic.
  /// What the map's value has besides the fields of `Value` stays as it is.
  ///
  /// With ``BackendKind/lookup``, fields are written in place, in one system call, for the calling
  /// thread, and for a thread given by its id where the library may load programs that find it
  /// (`bpf_task_from_pid`, Linux 6.2, in the initial pid namespace). Elsewhere, and for a pidfd, the whole value is read, changed and written
  /// back (`bpf_map_update_elem`): what a program writes to any field meanwhile is lost. With user
  /// pages the fields are written to the page without a system call to update it.
  ///
  /// - Throws: ``BPFError``, as ``value(of:)-(TaskReference)``.
  public func setValue(_ value: Value, of task: TaskReference) throws(BPFError) {
    try registry.withSlowPath { () throws(BPFError) in
      if case .direct(let backend) = access, backend.createsOnlyByAttaching,
        task.threadID == .current
      {
        _ = try unsafe registry.attach(at: index, backend)
      }
      try unsafe withUnsafeBytes(of: value) { (bytes) throws(BPFError) in
        try unsafe implementation.store(task, fields, of: bytes)
      }
    }
  }

  /// Overwrites a thread's value by thread id; see ``setValue(_:of:)-(_,TaskReference)``.
  public func setValue(_ value: Value, of thread: ThreadID) throws(BPFError) {
    try setValue(value, of: .thread(thread))
  }

  /// Removes a task's storage. It reads as zero until someone writes it again.
  ///
  /// A view that the thread is using keeps its bytes; its next `withCurrent` gets the new storage.
  /// This holds for all storages of the process over the map. The library cannot know of a removal by
  /// someone else: a thread that is attached to a direct backend then keeps its old bytes until it ends.
  ///
  /// - Returns: Whether there was one.
  /// - Throws: ``BPFError``, as ``value(of:)-(TaskReference)``.
  @discardableResult
  public func removeValue(of task: TaskReference) throws(BPFError) -> Bool {
    try registry.withSlowPath { () throws(BPFError) in
      let existed = try implementation.remove(task)
      registry.invalidateStorages(ofMap: implementation.mapID, of: task.threadID)
      return existed
    }
  }

  /// Removes a thread's storage by thread id; see ``removeValue(of:)-(TaskReference)``.
  @discardableResult
  public func removeValue(of thread: ThreadID) throws(BPFError) -> Bool {
    try removeValue(of: .thread(thread))
  }
}
