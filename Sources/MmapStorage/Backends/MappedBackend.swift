// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues
internal import SystemPackage

// Invariant: an attached address stays mapped, for the bytes of a value, until `detach`.

/// Each thread maps its own page of a map that was created with `BPF_F_MMAPABLE` (this project's
/// kernel patches). An access is one load or store, and the first touch is one `mmap`.
///
/// Other threads' values are accessed with `bpf_map_lookup_elem` and `bpf_map_update_elem`, which
/// writes in place on such a map.
///
/// The child of a `fork` does not inherit the pages: a view that the forking thread is using must
/// not be accessed in the child. Views that begin in the child access the child's own value.
package final class MappedBackend: DirectBackend {
  package let choice: BackendChoice

  private let map: MapHandle
  private let elements: LookupBackend

  package var mapName: String { map.name }

  package var mapID: UInt32 { elements.mapID }

  package var valueSize: Int { elements.valueSize }

  /// Creates a backend over a map, and keeps the map open.
  ///
  /// - Parameters:
  ///   - map: A map of type `BPF_MAP_TYPE_TASK_STORAGE` with ``BPFMapFlags/mmapable``, through a
  ///     writable descriptor.
  ///   - layout: The layout of the map's values; `nil` reads it from the map.
  ///   - rejected: The better backends, and why they are not used.
  /// - Throws: ``BPFError/Kind/unsupported`` for a map without the flag,
  ///   ``BPFError/Kind/permissionDenied`` for a read-only descriptor, and the errors of
  ///   ``LookupBackend/init(_:layout:accessPath:rejected:)``.
  package init(
    _ map: BPFMap,
    layout: ValueLayout? = nil,
    rejected: [BackendChoice.Rejection] = []
  ) throws(BPFError) {
    let attempt = "map the values"
    elements = try LookupBackend(map, layout: layout, accessPath: .pidfd)
    let info = try map.info
    guard info.flags.contains(.mmapable) else {
      throw BPFError(
        .unsupported,
        attempt: attempt,
        on: map.describedName,
        advice:
          "it was not created with BPF_F_MMAPABLE; add the flag to its map_flags, on a kernel "
          + "that has it for task storage"
      )
    }
    guard info.isWritable else {
      throw BPFError(
        .permissionDenied,
        attempt: attempt,
        on: map.describedName,
        advice:
          "the descriptor is read-only, or the map is frozen; allow .lookup, or open the map "
          + "for writing"
      )
    }
    self.map = try MapHandle(map, for: attempt)
    choice = BackendChoice(
      .mapped,
      reason: "each thread maps its own value",
      rejected: rejected
    )
  }

  package func valueLayout() throws(BPFError) -> ValueLayout { try elements.valueLayout() }

  /// One `mmap`.
  package func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer {
    switch unsafe map.mapShared(size: valueSize) {
    case .success(let address): return unsafe address
    case .failure(let errno): throw error(errno)
    }
  }

  /// One `mmap`, and one `mremap` over the old mapping, which is unchanged if the `mmap` fails.
  package func renew(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord
  ) throws(BPFError) {
    if let errno = unsafe map.mapShared(size: valueSize, over: address) { throw error(errno) }
  }

  /// One `bpf_map_lookup_elem`. Bytes that change during the comparison count as equal.
  package func mappingState(
    of address: UnsafeMutableRawPointer
  ) throws(BPFError) -> MappingState {
    try unsafe withUnsafeTemporaryAllocation(byteCount: 3 * valueSize, alignment: 16) {
      (bytes) throws(BPFError) in
      func part(_ index: Int) -> UnsafeMutableRawBufferPointer {
        unsafe UnsafeMutableRawBufferPointer(
          rebasing: bytes[index * valueSize..<(index + 1) * valueSize]
        )
      }
      let (before, kernel, after) = unsafe (part(0), part(1), part(2))
      let own = unsafe UnsafeRawBufferPointer(start: address, count: valueSize)
      for _ in 0..<3 {
        unsafe before.copyMemory(from: own)
        guard try unsafe elements.load(.callingThread, into: kernel) else { return .removed }
        unsafe after.copyMemory(from: own)
        let differs = kernel.indices.contains {
          unsafe before[$0] == after[$0] && before[$0] != kernel[$0]
        }
        if !differs { return .own }
      }
      return .removed
    }
  }

  /// One `munmap`.
  package func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  ) {
    unsafe map.unmap(address, size: valueSize)
  }

  package func values() throws(BPFError) -> [TaskValue<[UInt8]>] { try elements.values() }

  /// One `bpf_map_lookup_elem`.
  package func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool
  {
    try unsafe elements.load(task, into: bytes)
  }

  /// `bpf_map_lookup_elem`, the changed ranges, and `bpf_map_update_elem`.
  package func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try unsafe elements.store(task, ranges, of: bytes)
  }

  /// One `bpf_map_delete_elem`.
  package func remove(_ task: TaskReference) throws(BPFError) -> Bool {
    try elements.remove(task)
  }

  private func error(_ errno: Errno) -> BPFError {
    let advice: String? =
      switch errno {
      case .notPermitted: "the map is frozen; attach the threads before it is frozen"
      case .noMemory:
        "the kernel or the process's memory cgroup is out of memory, or the process has reached "
          + "RLIMIT_MEMLOCK, which pinned pages count for, or vm.max_map_count"
      default: nil
      }
    return BPFError(
      errno: errno,
      attempt: "map the calling thread's value",
      on: describedMap,
      advice: advice
    )
  }
}
