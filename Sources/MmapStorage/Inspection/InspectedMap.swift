// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues
internal import SystemPackage

/// Reads all values of a backend's map, and checks a thread's page. Programs are loaded at first
/// use.
package final class InspectedMap: Sendable {
  fileprivate static let lock = ForkSafeLock(rank: .programs)

  /// Programs from a broker, by map id, and the number of leases of each.
  fileprivate static let adopted = ForkSafeMutex<[UInt32: (program: BPFProgram, leases: Int)]>(
    [:],
    sharing: lock
  )
  private static let comparisonName = "compare_page"
  private static let comparisonAttempt = "verify the calling thread's page"

  private let handle: MapHandle
  private let layout: ValueLayout
  private let reader = ForkSafeMutex<TaskIterator?>(nil, sharing: lock)
  private let comparison: ForkSafeMutex<BPFProgram?>

  init(_ handle: MapHandle, id: UInt32, layout: ValueLayout) {
    self.handle = handle
    comparison = ForkSafeMutex(Self.adopted.withLock { $0[id]?.program }, sharing: Self.lock)
    self.layout = layout
  }

  func values() throws(BPFError) -> [TaskValue<[UInt8]>] {
    let reader = try reader.withLock { (loaded) throws(BPFError) in
      if let loaded { return loaded }
      let new = try TaskIterator(map: handle.duplicate(), layout: layout)
      loaded = new
      return new
    }
    return try reader.values()
  }

  /// Compares the calling thread's user page with the memory at an address.
  func mappingState(of address: UnsafeMutableRawPointer) throws(BPFError) -> MappingState {
    let attempt = Self.comparisonAttempt
    let program = try comparison.withLock { (loaded) throws(BPFError) in
      if let loaded { return loaded }
      let new = try Self.loadComparison(for: handle.duplicate(), layout)
      loaded = new
      return new
    }
    // Another thread may change both pages between the reads of the two.
    for _ in 0..<3 {
      switch program.run(UInt64(UInt(bitPattern: address))) {
      case .success(0): return .own
      case .success(1): continue
      case .success(-Errno.noSuchFileOrDirectory.rawValue): return .removed
      case .success(let code):
        throw BPFError(code: code, attempt: attempt, on: "map '\(handle.name)'")
      case .failure(let errno):
        throw BPFError(errno: errno, attempt: attempt, on: "map '\(handle.name)'")
      }
    }
    return .foreign
  }
}

extension InspectedMap {
  /// Loads the program that compares a thread's user page, to pass it to other processes.
  package static func loadComparison(
    for map: BPFMap,
    _ layout: ValueLayout
  ) throws(BPFError) -> BPFProgram {
    try TaskIterator.withErrors(about: map, comparisonAttempt) { () throws(BPFError) in
      let size = layout.type.size
      let object = try TaskIterator.loaded(comparisonName, for: map, valueSize: size)
      defer { object.close() }
      return try object.program(comparisonName).loaded()
    }
  }
}

/// Makes storages that are created over a map meanwhile use a program from a broker to compare user
/// pages.
package final class ComparisonLease: Sendable {
  private let mapID: UInt32

  package init(_ mapID: UInt32, _ program: BPFProgram) {
    self.mapID = mapID
    InspectedMap.adopted.withLock { adopted in
      adopted[mapID] = (program, (adopted[mapID]?.leases ?? 0) + 1)
    }
  }

  deinit {
    InspectedMap.adopted.withLock { adopted in
      adopted[mapID]?.leases -= 1
      if adopted[mapID]?.leases == 0 { adopted[mapID] = nil }
    }
  }
}
