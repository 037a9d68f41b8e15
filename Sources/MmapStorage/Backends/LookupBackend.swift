// SPDX-License-Identifier: Apache-2.0
package import LibBPF
internal import SystemPackage

/// Copies values in and out with system calls: works on every kernel that has task storage.
///
/// There are two access paths. The calling thread's own value is read and written by small BPF programs
/// that run in that thread (``AccessPath/program``): fields are written in place, so what the program
/// writes to others meanwhile is kept. Other threads' values, and all of them where these programs
/// cannot be loaded, go through pidfds (``AccessPath/pidfd``).
package final class LookupBackend: CopyingBackend {
  /// How the calling thread's own value is reached.
  package enum AccessPath: Sendable, Hashable, CaseIterable {
    /// By program where that can be, else by pidfd.
    case automatic
    /// Programs of type syscall, loaded when the backend is created: one system call to read (for
    /// each 1008 bytes of a value), one to write, and no descriptor for a thread. No field is torn,
    /// and what is not written stays as it is. Needs the right to load programs (CAP_BPF and
    /// CAP_PERFMON), `bpf_loop` (Linux 5.17), and a map that may be written.
    case program
    /// `bpf_map_lookup_elem` and `bpf_map_update_elem` with a pidfd, which is kept for each thread.
    /// For threads that do not lead their process this needs Linux 6.9.
    ///
    /// A write-back loads the value once more, overlays the fields that changed, and updates. What
    /// the program writes to the value between that load and the update is lost.
    case pidfd
  }

  package let choice: BackendChoice

  private let map: MapHandle
  private let layout: ValueLayout
  private let mapID: UInt32
  private let programs: CallingTaskPrograms?

  package var mapName: String { map.name }

  package let valueSize: Int

  /// Creates a backend over a map of type `BPF_MAP_TYPE_TASK_STORAGE`, which it keeps open.
  ///
  /// - Parameters:
  ///   - map: The map.
  ///   - layout: The layout of the map's values; nil asks the map for it.
  ///   - accessPath: How the calling thread's own value is reached.
  ///   - rejected: The better backends, and why they are not used.
  /// - Throws: ``BPFError/Kind/wrongType`` for a map of another type,
  ///   ``BPFError/Kind/loadFailed`` or another error if the programs are asked for and cannot be
  ///   loaded, what ``BPFMap/valueLayout()`` throws, and ``BPFError/Kind/wrongState`` for a closed map.
  package init(
    _ map: BPFMap,
    layout: ValueLayout? = nil,
    accessPath: AccessPath = .automatic,
    rejected: [BackendChoice.Rejection] = []
  ) throws(BPFError) {
    let info = try map.taskStorageInfo()
    self.map = try MapHandle(map, for: "use it as task-local storage")
    if let layout {
      self.layout = layout
    } else {
      self.layout = try map.valueLayout()
    }
    mapID = info.id
    valueSize = info.valueSize
    guard !self.layout.isInUserPage else {
      throw BPFError(
        .wrongType,
        attempt: "look up its values",
        on: map.describedName,
        advice: "its elements point to pages of the threads'; use UserPageBackend"
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

  package func loadOwn(into bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Bool {
    try load(.callingThread, into: bytes)
  }

  package func storeOwn(
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try store(.callingThread, ranges, of: bytes)
  }

  /// By program, or one `bpf_map_lookup_elem`.
  package func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool
  {
    let attempt = "look up the value"
    let address = try address(of: bytes, for: attempt)
    let errno =
      if let programs, task.isCallingThread {
        programs.load(into: address)
      } else {
        try task.withPidfd(for: attempt) { map.lookup(key: $0, into: address) }
      }
    switch errno {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  /// By program, the changed ranges in place; else `bpf_map_lookup_elem`, the changed ranges, and
  /// `bpf_map_update_elem`, again if somebody created or removed the storage in between.
  package func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    let attempt = "update the value"
    try check(ranges, of: bytes, for: attempt)
    let errno =
      if let programs, task.isCallingThread {
        programs.store(ranges, of: bytes)
      } else {
        try task.withPidfd(for: attempt) { pidfd in
          withUnsafeTemporaryAllocation(byteCount: valueSize, alignment: 16) { value in
            overlay(ranges, of: bytes, onto: pidfd, through: value)
          }
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
    let errno =
      if let programs, task.isCallingThread {
        programs.delete()
      } else {
        try task.withPidfd(for: attempt) { map.delete(key: $0) }
      }
    switch errno {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  private static func programs(
    for map: BPFMap,
    _ info: BPFMapInfo,
    _ accessPath: AccessPath
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
    // Each round lost a race against someone who created or removed this storage, or (EAGAIN) the
    // task's first or last storage in any map.
    for _ in 0..<1_000 {
      let found = map.lookup(key: pidfd, into: address)
      let condition: UpdateCondition
      switch found {
      case nil: condition = .exists
      case .noSuchFileOrDirectory:
        value.initializeMemory(as: UInt8.self, repeating: 0)
        condition = .isAbsent
      case .some: return found
      }
      for range in ranges {
        UnsafeMutableRawBufferPointer(rebasing: value[range])
          .copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[range]))
      }
      errno = map.update(key: pidfd, value: address, condition)
      let lostRace: Errno = condition == .exists ? .noSuchFileOrDirectory : .fileExists
      if errno != lostRace, errno != .resourceTemporarilyUnavailable { return errno }
    }
    return .resourceTemporarilyUnavailable
  }

  private func error(_ errno: Errno, _ attempt: String, _ task: TaskReference) -> BPFError {
    elementError(errno, attempt: attempt, on: describedMap, of: task)
  }
}
