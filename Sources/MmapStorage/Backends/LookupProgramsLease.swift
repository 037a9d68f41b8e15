// SPDX-License-Identifier: Apache-2.0
package import LibBPF

/// Keeps the programs for lookups of one map, to pass them to another process or to use those that
/// another process loaded.
package final class LookupProgramsLease: Sendable {
  /// Load, store and delete.
  package let descriptors: [BPFProgram]
  private let mapID: UInt32

  /// Loads the programs.
  package init(loadingFor map: BPFMap, _ info: BPFMapInfo) throws(BPFError) {
    descriptors = try CallingTaskPrograms.acquire(for: map, info).descriptorsForOthers
    mapID = info.id
  }

  /// Uses three programs from another process in all storages over the map.
  package init(adopting programs: [BPFProgram], for map: BPFMap, _ info: BPFMapInfo) {
    descriptors = programs
    mapID = info.id
    CallingTaskPrograms.adopt(programs, for: map, info)
  }

  deinit { CallingTaskPrograms.release(map: mapID) }
}
