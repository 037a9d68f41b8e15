// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues
internal import SystemPackage

// Invariant: buffers have at least the bytes of a value, and ranges lie in it; both are checked
// first.

/// Copies values in and out with system calls: works on every kernel that has task storage.
///
/// There are two access paths. Small BPF programs that run on the calling thread read and write
/// that thread's own value (``LookupAccessPath/program``). They write fields in place, so
/// concurrent writes of programs to other fields are kept. Other threads' values, and all values if
/// these programs cannot be loaded, are accessed with pidfds (``LookupAccessPath/pidfd``).
package final class LookupBackend: CopyingBackend {
  package let choice: BackendChoice

  private let map: MapHandle
  private let inspected: InspectedMap
  private let layout: ValueLayout
  package let mapID: UInt32
  private let programs: CallingTaskPrograms?

  package var mapName: String { map.name }

  package let valueSize: Int

  /// Creates a backend over a map of type `BPF_MAP_TYPE_TASK_STORAGE`, and keeps the map open.
  ///
  /// - Parameters:
  ///   - map: The map.
  ///   - layout: The layout of the map's values; `nil` reads it from the map.
  ///   - accessPath: How the calling thread's own value is reached.
  ///   - rejected: The better backends, and why they are not used.
  /// - Throws: ``BPFError/Kind/wrongType`` for a map of another type, ``BPFError/Kind/loadFailed`` or
  ///   another error if the programs are requested and cannot be loaded, the errors of
  ///   ``BPFMap/valueLayout()``, and ``BPFError/Kind/wrongState`` for a closed map.
  package init(
    _ map: BPFMap,
    layout: ValueLayout? = nil,
    accessPath: LookupAccessPath = .automatic,
    rejected: [BackendChoice.Rejection] = []
  ) throws(BPFError) {
    let info = try map.taskStorageInfo()
    let handle = try MapHandle(map, for: "use it as task-local storage")
    self.map = handle
    if let layout {
      self.layout = layout
    } else {
      self.layout = try map.valueLayout()
    }
    inspected = InspectedMap(handle, id: info.id, layout: self.layout)
    mapID = info.id
    valueSize = info.valueSize
    guard !self.layout.isInUserPage else {
      throw BPFError(
        .wrongType,
        attempt: "look up its values",
        on: map.describedName,
        advice: "its elements are addresses of pages, not the values; use the backend .userPage"
      )
    }
    guard self.layout.type.size == valueSize else {
      throw BPFError(
        .layoutMismatch,
        attempt: "use the layout '\(self.layout.name)' of \(self.layout.type.size) bytes",
        on: map.describedName,
        advice: "the map's value has \(valueSize) bytes; take the layout from the object file that "
          + "the map was created from"
      )
    }
    let (programs, reason) = try Self.programs(for: map, info, accessPath)
    self.programs = programs
    choice = BackendChoice(.lookup, reason: reason, rejected: rejected)
  }

  deinit {
    if programs != nil { CallingTaskPrograms.release(map: mapID) }
  }

  package func valueLayout() throws(BPFError) -> ValueLayout { layout }

  package func values() throws(BPFError) -> [TaskValue<[UInt8]>] { try inspected.values() }

  package func loadOwn(into bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Bool {
    try unsafe load(.callingThread, into: bytes)
  }

  package func storeOwn(
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try unsafe store(.callingThread, ranges, of: bytes)
  }

  /// By program, or one `bpf_map_lookup_elem`.
  package func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool
  {
    let attempt = "look up the value"
    let address = try unsafe address(of: bytes, for: attempt)
    let errno = try reach(task, for: attempt) {
      unsafe $0.load($1, into: address)
    } byPidfd: {
      unsafe map.lookup(key: $0, into: address)
    }
    switch errno {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  /// With programs, writes the changed ranges in place. Otherwise calls `bpf_map_lookup_elem`,
  /// overlays the changed ranges, and calls `bpf_map_update_elem`, and repeats this if the value
  /// was created or removed in between. A program's write between the two calls is then lost.
  package func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    let attempt = "update the value"
    try unsafe check(ranges, of: bytes, for: attempt)
    var errno: Errno?
    for _ in 0..<100 {
      errno = try reach(task, for: attempt) {
        unsafe $0.store($1, ranges, of: bytes)
      } byPidfd: { pidfd in
        unsafe withUnsafeTemporaryAllocation(byteCount: valueSize, alignment: 16) { value in
          unsafe overlay(ranges, of: bytes, onto: pidfd, through: value)
        }
      }
      guard errno == .resourceTemporarilyUnavailable, programs != nil else { break }
      // The programs do not return the reason why the value was not created. The system call does.
      let creation = try task.withPidfd(for: attempt, isKept: false) { createZero($0) }
      if let creation, creation != .fileExists, creation != .resourceTemporarilyUnavailable {
        errno = creation
        break
      }
    }
    switch errno {
    case nil: return
    case .noSuchFileOrDirectory:
      throw BPFError(
        .noSuchTask,
        attempt: attempt,
        on: "\(describedMap) of \(task)",
        errno: errno,
        advice: "the thread has ended"
      )
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  /// By program, or one `bpf_map_delete_elem`.
  package func remove(_ task: TaskReference) throws(BPFError) -> Bool {
    let attempt = "delete the value"
    let errno = try reach(task, for: attempt) {
      $0.delete($1)
    } byPidfd: {
      map.delete(key: $0)
    }
    switch errno {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  /// Accesses a task's value with the programs if they can find the task, else with a pidfd.
  private func reach(
    _ task: TaskReference,
    for attempt: String,
    byProgram: (CallingTaskPrograms, ThreadID?) -> Errno?,
    byPidfd: (Int32) -> Errno?
  ) throws(BPFError) -> Errno? {
    if let programs {
      switch task {
      case .callingThread:
        return byProgram(programs, nil)
      case .thread(let id):
        let errno = byProgram(programs, task.isCallingThread ? nil : id)
        if errno != CallingTaskPrograms.cannotFindThreads { return errno }
      case .pidfd:
        // The thread's id may belong to another thread when the program uses it.
        break
      }
    }
    return try task.withPidfd(for: attempt, byPidfd)
  }

  /// Creates a zeroed value if there is none.
  private func createZero(_ pidfd: Int32) -> Errno? {
    unsafe withUnsafeTemporaryAllocation(byteCount: valueSize, alignment: 16) { value in
      guard let address = value.baseAddress else { return .noMemory }
      unsafe value.initializeMemory(as: UInt8.self, repeating: 0)
      return unsafe map.update(key: pidfd, value: address, .isAbsent)
    }
  }

  private static func programs(
    for map: BPFMap,
    _ info: BPFMapInfo,
    _ accessPath: LookupAccessPath
  ) throws(BPFError) -> (CallingTaskPrograms?, reason: String) {
    let way = "each view copies its value"
    if accessPath != .pidfd {
      do throws(BPFError) {
        guard info.isWritable else {
          throw BPFError(
            .permissionDenied,
            attempt: "load the programs that reach the calling thread's value",
            on: map.describedName,
            advice: "the map's descriptor is read-only, or the map is frozen"
          )
        }
        return (
          try .acquire(for: map, info),
          way + " with BPF programs that run in the thread"
        )
      } catch {
        if accessPath == .program { throw error }
        let cause = error.errno.map { "\($0)" } ?? error.advice
        return (nil, way + " by its pidfd, as BPF programs for it cannot be loaded (\(cause))")
      }
    }
    return (nil, way + " by its pidfd")
  }

  private func overlay(
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer,
    onto pidfd: Int32,
    through value: UnsafeMutableRawBufferPointer
  ) -> Errno? {
    guard let address = value.baseAddress else { return .invalidArgument }
    var errno: Errno?
    // Each round lost a race against a thread that created or removed this storage, or (EAGAIN) the
    // task's first or last storage in any map.
    for _ in 0..<1_000 {
      let found = unsafe map.lookup(key: pidfd, into: address)
      let condition: UpdateCondition
      switch found {
      case nil: condition = .exists
      case .noSuchFileOrDirectory:
        unsafe value.initializeMemory(as: UInt8.self, repeating: 0)
        condition = .isAbsent
      case .some: return found
      }
      for range in ranges {
        unsafe UnsafeMutableRawBufferPointer(rebasing: value[range])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range]))
      }
      errno = unsafe map.update(key: pidfd, value: address, condition)
      let lostRace: Errno = condition == .exists ? .noSuchFileOrDirectory : .fileExists
      if errno != lostRace, errno != .resourceTemporarilyUnavailable { return errno }
    }
    return .resourceTemporarilyUnavailable
  }

  private func error(_ errno: Errno, _ attempt: String, _ task: TaskReference) -> BPFError {
    elementError(errno, attempt: attempt, on: describedMap, of: task)
  }
}

extension StorageBackend {
  /// The start of a buffer for a value.
  ///
  /// - Throws: ``BPFError/Kind/invalidArgument`` if it is too small.
  func address(
    of bytes: UnsafeMutableRawBufferPointer,
    for attempt: String
  ) throws(BPFError) -> UnsafeMutableRawPointer {
    guard bytes.count >= valueSize, let address = bytes.baseAddress else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedMap,
        advice: "the buffer has \(bytes.count) bytes and a value \(valueSize)"
      )
    }
    return unsafe address
  }
}
