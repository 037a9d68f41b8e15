// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
package import LibBPF
package import MapValues
internal import SystemPackage

// Invariant: a page stays mapped while its thread's pages are locked or the thread is attached.
// Ranges are checked against the value, which fits into a page.

/// Each thread registers its own page with the kernel, which pins it: an access is one load or
/// store, on a stock kernel (Linux 6.13, `__uptr` in task storage).
///
/// The first touch allocates the page and registers it with one `bpf_map_update_elem`. The memory
/// is one page for each thread and map. When the thread detaches, the element is removed before
/// the page is unmapped, so the kernel never writes to reused memory.
///
/// Differences from the other backends: a task has a value only after its own thread has attached;
/// no program and no other thread can create it. Other threads can look up and write values only of
/// threads of this process, because the map does not contain the page's address; ``values()`` reads
/// all. After `exec`, programs see the page unchanged, because the kernel keeps it until the task
/// ends, and the new executable cannot access it. The maximum size of a value is one page.
///
/// The child of a `fork` gets copies of the pages, which are not registered with the kernel. A view
/// that the forking thread is using continues on such a copy. Views that begin in the child access
/// the child's own value.
package final class UserPageBackend: DirectBackend {
  package let choice: BackendChoice

  package var mapName: String { map.name }

  package var valueSize: Int { layout.type.size }

  /// Only a thread itself can register a page.
  package var createsOnlyByAttaching: Bool { true }

  private let map: MapHandle
  private let inspected: InspectedMap
  private let registry = ThreadRegistry.shared
  package let mapID: UInt32
  private let layout: ValueLayout
  private let initialBytes: [UInt8]

  /// Creates a backend over a map, and keeps the map open.
  ///
  /// - Parameters:
  ///   - map: A map of type `BPF_MAP_TYPE_TASK_STORAGE` whose element is one `__uptr`, as declared by
  ///     `TASK_STORAGE` of mmap_storage.bpf.h, through a writable descriptor.
  ///   - layout: The layout of the values, with ``ValueLayout/isInUserPage``; `nil` reads it from the
  ///     map.
  ///   - initialBytes: The first bytes of a new value; the others are zero.
  ///   - rejected: The better backends, and why they are not used.
  /// - Throws: ``BPFError/Kind/wrongType`` for a map of another type or one whose elements are not
  ///   such pointers, ``BPFError/Kind/unsupported`` on a kernel without them,
  ///   ``BPFError/Kind/permissionDenied`` for a read-only descriptor,
  ///   ``BPFError/Kind/invalidArgument`` for more bytes than a value has, the errors of
  ///   ``BPFMap/valueLayout()``, and ``BPFError/Kind/wrongState`` for a closed map.
  package init(
    _ map: BPFMap,
    layout: ValueLayout? = nil,
    initialBytes: [UInt8] = [],
    rejected: [BackendChoice.Rejection] = []
  ) throws(BPFError) {
    let attempt = "share a page of each thread with it"
    let info = try map.taskStorageInfo()
    self.layout = if let layout { layout } else { try map.valueLayout() }
    let size = self.layout.type.size
    guard self.layout.isInUserPage, info.valueSize == MemoryLayout<UInt>.size else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: map.describedName,
        advice: "its elements are the values themselves; declare it with TASK_STORAGE or "
          + "TASK_STORAGE_USER_PAGE of mmap_storage.bpf.h"
      )
    }
    if case .missing = KernelFeature.userPages {
      throw BPFError(
        .unsupported,
        attempt: attempt,
        on: map.describedName,
        advice: "this kernel does not have __uptr in task storage (Linux 6.13)"
      )
    }
    guard info.isWritable else {
      throw BPFError(
        .permissionDenied,
        attempt: attempt,
        on: map.describedName,
        advice: "the descriptor is read-only, or the map is frozen; open the map for writing"
      )
    }
    guard size <= UserPage.size, initialBytes.count <= size else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: map.describedName,
        advice: size <= UserPage.size
          ? "the value has \(size) bytes, and the first value \(initialBytes.count)"
          : "the value has \(size) bytes, and a page \(UserPage.size)"
      )
    }
    let handle = try MapHandle(map, for: attempt)
    self.map = handle
    inspected = InspectedMap(handle, id: info.id, layout: self.layout)
    self.initialBytes = initialBytes
    mapID = info.id
    choice = BackendChoice(
      .userPage,
      reason: "each thread shares a page of its own with the kernel",
      rejected: rejected
    )
  }

  package func valueLayout() throws(BPFError) -> ValueLayout { layout }

  // MARK: Attaching

  /// Allocates a page and registers it: `mmap`, `pidfd_open`, `bpf_map_update_elem` and `close`. If
  /// another storage of the process over the same map has a page, uses that page, after one
  /// `bpf_map_lookup_elem`, because it may have been removed from the map.
  package func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer {
    try unsafe registry.pages(of: thread).withLock { (pages) throws(BPFError) in
      if let existing = pages[mapID] { try revive(existing, of: thread.id) }
      return try unsafe pages.acquire(mapID) { () throws(BPFError) in
        try registeredPage(for: thread.id)
      }.address
    }
  }

  /// Registers the page again, with the initial value, if it is no longer registered.
  package func renew(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord
  ) throws(BPFError) {
    try registry.pages(of: thread).withLock { (pages) throws(BPFError) in
      if let page = pages[mapID] { try revive(page, of: thread.id) }
    }
  }

  /// Removes the element and then unmaps the page, when its last use ends. If the kernel does not
  /// remove the element, the page stays mapped.
  package func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  ) {
    registry.pages(of: thread).withLock { pages in
      guard let page = pages.release(mapID) else { return }
      do throws(BPFError) {
        _ = try remove(.thread(thread.id))
      } catch {
        guard error.kind == .noSuchTask else { return }
      }
      page.unmap()
    }
  }

  /// Registers a page again, with the initial value, if it is no longer registered.
  private func revive(_ page: UserPage, of thread: ThreadID) throws(BPFError) {
    guard try !exists(.thread(thread), for: "renew the thread's page") else { return }
    unsafe page.bytes.initializeMemory(as: UInt8.self, repeating: 0)
    unsafe page.bytes.copyBytes(from: initialBytes)
    try register(page, for: thread)
  }

  private func registeredPage(for thread: ThreadID) throws(BPFError) -> UserPage {
    let memory = try UserPage(for: describedMap)
    unsafe memory.bytes.copyBytes(from: initialBytes)
    do throws(BPFError) {
      try register(memory, for: thread)
    } catch {
      memory.unmap()
      throw error
    }
    return memory
  }

  private func register(_ memory: UserPage, for thread: ThreadID) throws(BPFError) {
    let attempt = "register a page as the calling thread's value"
    let thread = TaskReference.thread(thread)
    let errno = try thread.withPidfd(for: attempt, isKept: false) { pidfd in
      unsafe withUnsafeBytes(of: UInt(bitPattern: memory.address)) { pointer -> Errno? in
        guard let pointer = pointer.baseAddress else { return .invalidArgument }
        // The task's first or last storage in any map may be created or removed concurrently.
        for _ in 0..<1_000 {
          let errno = unsafe map.update(key: pidfd, value: pointer, .always)
          if errno != .resourceTemporarilyUnavailable { return errno }
          sched_yield()
        }
        return .resourceTemporarilyUnavailable
      }
    }
    if let errno { throw error(errno, attempt, thread) }
  }

  /// One run of a program that compares the page in the map with the one at the address.
  package func mappingState(
    of address: UnsafeMutableRawPointer
  ) throws(BPFError) -> MappingState {
    try unsafe inspected.mappingState(of: address)
  }

  // MARK: Any thread

  package func values() throws(BPFError) -> [TaskValue<[UInt8]>] { try inspected.values() }

  /// One `bpf_map_lookup_elem`, and a copy of the page, for threads of this process.
  package func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool
  {
    let attempt = "look up the value"
    let address = try unsafe address(of: bytes, for: attempt)
    return try unsafe withPage(of: task, for: attempt) { page in
      unsafe copyWords(from: page, to: address, count: valueSize)
    } != nil
  }

  /// One `bpf_map_lookup_elem`, and stores into the page, for threads of this process that have
  /// attached.
  package func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    let attempt = "update the value"
    try unsafe check(ranges, of: bytes, for: attempt)
    let stored: Void? = try unsafe withPage(of: task, for: attempt) { page in
      guard let address = bytes.baseAddress else { return }
      for range in ranges {
        unsafe copyWords(
          from: address + range.lowerBound,
          to: page + range.lowerBound,
          count: range.count
        )
      }
    }
    if stored == nil {
      let hasEnded = task.threadID == nil
      throw BPFError(
        hasEnded ? .noSuchTask : .notFound,
        attempt: attempt,
        on: "\(describedMap) of \(task)",
        advice: hasEnded
          ? "the thread has ended"
          : "it has none, and with user pages only the thread itself can create it: call withCurrent "
            + "there first"
      )
    }
  }

  /// One `bpf_map_delete_elem`. The thread's page stays mapped until the thread detaches.
  package func remove(_ task: TaskReference) throws(BPFError) -> Bool {
    let attempt = "delete the value"
    switch try task.withPidfd(for: attempt, isKept: false, { map.delete(key: $0) }) {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  /// Runs `body` with a task's page, which stays mapped meanwhile; nil if the task has no value.
  private func withPage<R>(
    of task: TaskReference,
    for attempt: String,
    _ body: (UnsafeMutableRawPointer) -> R
  ) throws(BPFError) -> R? {
    // If the kernel has a page that the thread's record does not contain, the thread may be
    // registering it. It does so with the lock of its pages held.
    for _ in 0..<2 {
      if let pages = task.threadID.flatMap(registry.existingPages) {
        let found = try pages.withLock { (pages) throws(BPFError) -> R?? in
          guard let page = pages[mapID] else { return .none }
          return unsafe .some(try exists(task, for: attempt) ? body(page.address) : nil)
        }
        if case .some(let result) = found { return result }
      }
      guard try exists(task, for: attempt) else { return nil }
    }
    throw BPFError(
      .unsupported,
      attempt: attempt,
      on: "\(describedMap) of \(task)",
      advice: "another process registered its page, and the map does not contain the page's "
        + "address; read it with values(), or read or write it in that process"
    )
  }

  private func exists(
    _ task: TaskReference,
    for attempt: String
  ) throws(BPFError) -> Bool {
    // The kernel returns zero in place of the pointer.
    var pointer: UInt = 0
    switch try task.withPidfd(
      for: attempt,
      isKept: false,
      { unsafe map.lookup(key: $0, into: &pointer) }
    )
    {
    case nil: return true
    case .noSuchFileOrDirectory: return false
    case .some(let errno): throw error(errno, attempt, task)
    }
  }

  private func error(_ errno: Errno, _ attempt: String, _ task: TaskReference) -> BPFError {
    elementError(errno, attempt: attempt, on: describedMap, of: task)
  }
}

/// Returns the size of the largest aligned access that begins at `offset` and needs at most `rest`
/// bytes: 8, 4, 2 or 1. A copy in such pieces tears no aligned field.
func widestAccess(_ offset: Int, _ rest: Int) -> Int {
  if offset & 7 == 0, rest >= 8 { return 8 }
  if offset & 3 == 0, rest >= 4 { return 4 }
  return offset & 1 == 0 && rest >= 2 ? 2 : 1
}

/// Copies bytes that another thread or a program may write at the same time. Tears no aligned field.
private func copyWords(
  from source: UnsafeRawPointer,
  to target: UnsafeMutableRawPointer,
  count: Int
) {
  let misalignment = Int(bitPattern: source) | Int(bitPattern: target)
  var at = 0
  while at < count {
    let from = unsafe UnsafeMutableRawPointer(mutating: source + at)
    let to = unsafe target + at
    let width = widestAccess(misalignment | at, count - at)
    switch width {
    case 8: unsafe mms_store64(to, mms_load64(from))
    case 4: unsafe mms_store32(to, mms_load32(from))
    case 2: unsafe mms_store16(to, mms_load16(from))
    default: unsafe mms_store8(to, mms_load8(from))
    }
    at += width
  }
}
