// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim
public import LibBPF
public import MapValues
public import SystemPackage

// Invariant: an address from a slot or an attachment is that of a value of the map's size, which
// the layout check compared with `Value`. It stays valid while the view exists, because the view
// keeps the storage alive.

/// Typed access to the values of a task storage map: views for the calling thread, copies for other threads.
///
/// Each thread accesses its own value. A BPF program accesses the same value with `bpf_task_storage_get`.
/// Creating the storage compares the layout of `Value` with the map's BTF, field by field.
///
/// ```swift
/// let tags = try TaskLocalStorage<RequestTag>(map: object.map("request_tags"))
/// try tags.withCurrent { tag in
///   tag.requestID = 42
/// }
/// ```
///
/// A storage may be used from several threads at once. It keeps its map open. A thread is detached when
/// it ends or when the storage is deallocated. In the child of a `fork`, the storage can be used, and the
/// child's thread starts unattached. A child of `_Fork`, or of the system calls `clone` and `fork`, must not use
/// storages, because the fork handlers of the C library do not run.
///
/// ## Signal handlers, cancellation and limits
///
/// `withCurrent(_:)` is async-signal-safe on a thread that is attached to a storage with a direct
/// backend (``BackendKind/mapped``, ``BackendKind/userPage``): it reads two words of memory and calls
/// nothing. All other functions are not async-signal-safe: a first touch, every view with
/// ``BackendKind/lookup``, calls for other tasks, and creating or releasing a storage acquire locks and
/// allocate memory. If a handler interrupts such a function on its own thread and calls another one, the call
/// throws ``BPFError/Kind/wrongState`` instead of deadlocking. A handler that interrupts `malloc` or
/// another library must not attach. The handler's own code must not allocate memory; debug builds do so in a
/// `for` loop over an array.
///
/// A thread is not cancelled (`pthread_cancel`) inside the library.
///
/// A process may have 16,384 storages at a time. The cost of an access does not depend on their number.
public final class TaskLocalStorage<Value: MapField>: Sendable {
  /// The offset of a thread's block from its thread pointer.
  @usableFromInline
  let threadOffset: UInt

  /// The offset of the storage's slot in a thread's table, in bytes.
  @usableFromInline
  let slotOffset: UInt

  private let registry: ThreadRegistry
  private let index: Int
  private let access: ValueAccess
  private let implementation: any StorageBackend
  private let fields: [Range<Int>]
  private let booleans: [Int]

  /// The backend, and the reason for the choice.
  public var backend: BackendChoice { implementation.choice }

  // MARK: Creating

  /// Creates a storage over a backend, and checks the layout of `Value` against the backend's.
  ///
  /// - Parameters:
  ///   - backend: Provides access to the bytes.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  /// - Throws: ``BPFError``: ``BPFError/Kind/layoutMismatch`` with the table in ``BPFError/details``, or
  ///   an error if one of the layouts is not available.
  package init(backend: any StorageBackend, policy: LayoutPolicy = .exact) throws(BPFError) {
    let type = try Value.fieldType()
    try LayoutComparison(
      swift: type,
      swiftName: "\(Value.self)",
      map: try backend.valueLayout().type,
      mapName: backend.mapName,
      policy: policy
    ).check(of: Value.self)
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
  /// Takes tens of microseconds to compare the layouts. With ``BackendKind/lookup``, the first storage of the
  /// process over a map also loads programs, which takes some milliseconds.
  ///
  /// - Parameters:
  ///   - map: A map of type `BPF_MAP_TYPE_TASK_STORAGE`. The storage keeps it open, also if
  ///     ``BPFMap/close()`` is called.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  ///   - layout: The layout of the map's values. A process that cannot read it from the kernel
  ///     (CAP_SYS_ADMIN), for a received descriptor or a pinned map, reads it from the object file with
  ///     ``BPFObject/layout(ofMap:)``.
  ///   - backends: The backends to choose from. ``BPFObject/init(_:allowing:)`` restricts the backends for
  ///     which the map is created.
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
  ///   - path: The path of the pin, such as "/sys/fs/bpf/request_tags".
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  ///   - layout: The layout of the map's values, if this process cannot read it from the kernel.
  ///   - backends: The backends to choose from.
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
  /// With a direct backend, programs see a write immediately. With a backend that copies
  /// (``BackendKind/lookup``), the outermost `withCurrent` of the thread loads the value and, when it
  /// ends, writes back the fields that changed. Changes by the program to other fields are kept. A call that
  /// only reads does not create or write a value.
  ///
  /// Calls may be nested, on the same storage or on different ones. Nested calls on the same storage see
  /// each other's writes. If `body` throws, its writes remain.
  ///
  /// Cost once attached: with a direct backend, a few instructions, no call and no allocation; with
  /// `.lookup`, one system call to load, or one for each 1008 bytes of a larger value, and one more if a field
  /// changed. If the library cannot load its programs, loading takes one and writing two.
  ///
  /// - Parameter body: Reads and writes the fields. It is synchronous, and the view cannot escape from it.
  ///   It may throw ``BPFError``. A closure that contains a `try` declares that, as in
  ///   `{ (tag) throws(BPFError) in … }`, because Swift 6.3 infers `any Error` for it. A closure that can fail
  ///   with another error returns a `Result`.
  /// - Returns: The result of `body`.
  /// - Throws: ``BPFError`` if the thread cannot be attached, or the value cannot be loaded or
  ///   written back, and the error of `body`. If `body` throws and writing back fails, the
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

  @usableFromInline
  func end(_ copy: ViewedCopy, after error: BPFError) throws(BPFError) {
    do throws(BPFError) {
      try copy.end()
    } catch let writeBack {
      var writeBack = writeBack
      if !writeBack.details.isEmpty { writeBack.details += "\n" }
      writeBack.details += "while leaving a closure that had thrown: \(error)"
      throw writeBack
    }
  }

  /// Begins a view if the slot contains no address: attaches the thread, or loads its copy.
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

  /// Returns a copy of a task's value; `nil` if the task has no value in this map. Not atomic.
  ///
  /// Also returns `nil` for a pidfd of a task that has ended, because the kernel reports the same error.
  ///
  /// Cost: one system call if the library's programs can find the thread, as described for
  /// ``setValue(_:of:)``. Otherwise one lookup and, with ``TaskReference/thread(_:)`` for another thread, opening
  /// and closing a pidfd.
  ///
  /// - Throws: ``BPFError``: ``BPFError/Kind/noSuchTask`` if there is no thread with this id;
  ///   ``BPFError/Kind/unsupported`` if a pidfd is needed for a thread other than the first one of a process,
  ///   before Linux 6.9; ``BPFError/Kind/permissionDenied``.
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

  /// Returns copies of the values of all tasks, including those of other processes.
  ///
  /// A BPF task iterator copies the values in the kernel, with every backend. The first call loads it,
  /// which takes about 100 ms. Only tasks in the pid namespace of the calling process are visited. No
  /// field is torn, but neither the copy of a value nor that of all values is atomic.
  ///
  /// Needs CAP_BPF and CAP_PERFMON. `TaskStorageReader` of
  /// `MmapStorageInspection` does the same without the type of the value.
  ///
  /// - Throws: ``BPFError``: ``BPFError/Kind/permissionDenied``, or an error if the iterator cannot
  ///   be loaded.
  /// - Complexity: One step in the kernel for each task of the machine, about 100 ns.
  public func values() throws(BPFError) -> [TaskValue<Value>] {
    try registry.withSlowPath { () throws(BPFError) in
      let found = try implementation.values()
      return found.compactMap { found in
        var bytes = found.value
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
  /// A process with write access to the map can remove the thread's value or, with
  /// ``BackendKind/userPage``, replace its page. The thread does not detect this, because
  /// it accesses its memory without a system call. This function compares the thread's memory with the map's
  /// value. It detects a replaced page only if at least one byte differs, so write a value that others
  /// cannot guess before the call. Bytes that change during the comparison count as equal.
  ///
  /// Attaches the thread if it is not attached. If the result is not ``MappingState/own``, call
  /// ``removeValue(of:)`` with ``TaskReference/callingThread``. The next `withCurrent(_:)` then attaches it again.
  ///
  /// With ``BackendKind/userPage``, this needs CAP_BPF and CAP_PERFMON, or a program from a broker. With
  /// ``BackendKind/lookup``, the result is always ``MappingState/own``. Cost: one system call. The
  /// first call also loads a program with ``BackendKind/userPage``, unless it is from a broker, and opens a pidfd
  /// of the thread with ``BackendKind/mapped``.
  ///
  /// - Returns: Whether programs use the thread's memory.
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

  /// Overwrites the fields of a task's value, and creates the value if there is none. Not atomic.
  /// Bytes of the map's value that do not belong to a field of `Value` are not changed.
  ///
  /// With ``BackendKind/lookup``, the library uses programs if it can load them. They write the fields in place,
  /// in one system call, for the calling thread, and for a thread given by its id (`bpf_task_from_pid`, Linux
  /// 6.2, in the initial pid namespace). Otherwise, and for a pidfd, the library reads the whole value, changes
  /// it and writes it back (`bpf_map_update_elem`): a program's write to any field meanwhile is lost. With user
  /// pages, the fields are written directly to the page.
  ///
  /// - Throws: ``BPFError``, as ``value(of:)``.
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

  /// Removes a task's value. It reads as zero until it is written again.
  ///
  /// A view that the thread is using keeps its bytes. The thread's next `withCurrent` accesses the new value.
  /// This holds for all storages of the process over the map. The library cannot detect a removal by a program
  /// or another process: a thread that is attached to a direct backend then continues to use its old bytes; see
  /// ``verifyMapping()``.
  ///
  /// - Returns: Whether there was a value.
  /// - Throws: ``BPFError``, as ``value(of:)``.
  @discardableResult
  public func removeValue(of task: TaskReference) throws(BPFError) -> Bool {
    try registry.withSlowPath { () throws(BPFError) in
      let existed = try implementation.remove(task)
      registry.invalidateStorages(ofMap: implementation.mapID, of: task.threadID)
      return existed
    }
  }
}
