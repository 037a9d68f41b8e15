// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// Chooses where the values of an object's task storage maps are, when the object is loaded.
///
/// As compiled, each map has the values in its elements and no flag that a kernel could reject, so
/// any loader can load the object on any kernel. The preparation selects the best features of the
/// running kernel.
final class StoragePreparation: BPFObjectPreparation {
  let allowedBackends: Set<BackendKind>

  struct Outcome: Sendable {
    var mapsInUserPages: Set<String> = []
    /// Whether the values of pinned maps are in user pages, by the maps' ids.
    var pinnedPlaces: [UInt32: Bool] = [:]
    var rejections: [String: [BackendChoice.Rejection]] = [:]
  }

  let outcome = ForkSafeMutex(Outcome(), rank: .object)

  init(allowing backends: Set<BackendKind>) { allowedBackends = backends }

  /// Whether the loaded map has its values in user pages.
  func isInUserPages(_ map: String) -> Bool {
    outcome.withLock { $0.mapsInUserPages.contains(map) }
  }

  /// Why better backends were not chosen for the loaded map.
  func rejections(of map: String) -> [BackendChoice.Rejection] {
    outcome.withLock { $0.rejections[map] ?? [] }
  }

  func willLoad(_ object: BPFObject, reusing pinned: [String: BPFMap]) throws(BPFError) {
    let declarations = try StorageDeclaration.all(in: object)
    for (name, map) in pinned {
      try object.reuse(map, as: name)
      if try isInUserPages(pinned: map, of: object), declarations[name] == .any {
        try tellPrograms(of: name, in: object)
      }
    }
    for map in object.declaredMaps
    where map.type == .taskStorage && !map.isInternal && pinned[map.name] == nil {
      let flags = try object.mapFlags(of: map.name)
      switch declarations[map.name] {
      case .userPage:
        try requireUserPages(for: map, of: object)
      case .any, .direct:
        guard let rejection = rejectionOfMapping(map) else {
          try object.setMapFlags(flags.union(.mmapable), of: map.name)
          continue
        }
        reject(map, rejection)
        if declarations[map.name] == .any { try placeInUserPages(map, of: object) }
      case nil:
        // The source sets the flag; a kernel without it uses another backend.
        if flags.contains(.mmapable), let rejection = rejectionOfMapping(map) {
          reject(map, rejection)
          try object.setMapFlags(flags.subtracting(.mmapable), of: map.name)
        }
      }
    }
  }

  private func reject(_ map: DeclaredMap, _ rejection: BackendChoice.Rejection) {
    outcome.withLock { $0.rejections[map.name, default: []].append(rejection) }
  }

  private func rejectionOfMapping(_ map: DeclaredMap) -> BackendChoice.Rejection? {
    guard allowedBackends.contains(.mapped) else { return .notAllowed(.mapped) }
    return KernelFeature.mmapableTaskStorage(valueSize: map.valueSize).rejection(of: .mapped)
  }

  /// Replaces the map by one whose elements point to user pages, and sets the programs' variable.
  private func placeInUserPages(_ map: DeclaredMap, of object: BPFObject) throws(BPFError) {
    guard allowedBackends.contains(.userPage) else {
      return reject(map, .notAllowed(.userPage))
    }
    guard map.valueSize <= StorageDeclaration.pageSize else {
      return reject(
        map,
        .init(
          .userPage,
          reason: "a value has \(map.valueSize) bytes, and a page \(StorageDeclaration.pageSize)"
        )
      )
    }
    if let rejection = KernelFeature.userPages.rejection(of: .userPage) {
      return reject(map, rejection)
    }
    // Without the variable, no program accesses the map.
    guard let btf = object.btf,
      let element = btf.structure(named: StorageDeclaration.elementType(of: map.name))
    else {
      return reject(map, .init(.userPage, reason: "no program of the object uses the map"))
    }
    let replacement = try BPFMap(
      creating: .taskStorage,
      name: map.name,
      keySize: MemoryLayout<CInt>.size,
      valueSize: MemoryLayout<UInt64>.size,
      flags: .noPrealloc,
      types: MapTypes(btf: btf, key: map.keyTypeID, value: element)
    )
    try object.reuse(replacement, as: map.name)
    try tellPrograms(of: map.name, in: object)
  }

  /// Sets the variable that makes the object's programs use user pages for a map.
  private func tellPrograms(of map: String, in object: BPFObject) throws(BPFError) {
    try object.withGlobal(
      StorageDeclaration.placementVariable(of: map),
      attempt: "place the values of map '\(map)' in user pages",
      forWriting: true
    ) { $0.setFirstByte(1) }
    outcome.withLock { _ = $0.mapsInUserPages.insert(map) }
  }

  private func requireUserPages(for map: DeclaredMap, of object: BPFObject) throws(BPFError) {
    guard case .missing = KernelFeature.userPages else { return }
    throw BPFError(
      .unsupported,
      attempt: "load the object",
      on: "map '\(map.name)' of object '\(object.name)'",
      advice: "TASK_STORAGE_USER_PAGE needs __uptr in task storage (Linux 6.13); declare the map "
        + "with TASK_STORAGE, which works on older kernels as well"
    )
  }
}
