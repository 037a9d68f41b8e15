// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import MapValues

/// Creates the best backend that the map, its descriptor and the kernel allow.
func selectBackend(
  for map: BPFMap,
  layout: ValueLayout?,
  allowing allowed: Set<BackendKind>
) throws(BPFError) -> any StorageBackend {
  let info = try map.taskStorageInfo()
  let preparation = map.object?.preparation as? StoragePreparation
  var layout = if let layout { layout } else { try map.valueLayout() }
  if map.object == nil, let id = layout.userPageTypeID {
    layout.isInUserPage = info.btfValueTypeID == id
  }
  let allowed = preparation.map { allowed.intersection($0.allowedBackends) } ?? allowed
  var rejected: [BackendChoice.Rejection] = []
  for kind in BackendKind.allCases {
    let known = preparation?.rejections(of: map.name).first { $0.kind == kind }
    let isPrepared = map.object == nil || preparation != nil
    if let rejection = known ?? rejection(of: kind, info, layout, allowed, isPrepared) {
      rejected.append(rejection)
      continue
    }
    return switch kind {
    case .mapped: try MappedBackend(map, layout: layout, rejected: rejected)
    case .userPage: try UserPageBackend(map, layout: layout, rejected: rejected)
    default: try LookupBackend(map, layout: layout, rejected: rejected)
    }
  }
  if let kind = rejected.first(where: { $0 == .readOnly($0.kind) })?.kind {
    throw BPFError(
      .permissionDenied,
      attempt: "choose a backend",
      on: map.describedName,
      advice:
        "its descriptor is read-only, or the map is frozen, and \(kind) needs to write to it; open "
        + "the map without readOnly: true, or read it with a TaskStorageReader of MmapStorageInspection"
    )
  }
  throw BPFError(
    .unsupported,
    attempt: "choose a backend",
    on: map.describedName,
    errno: rejected.lazy.compactMap(\.errno).first,
    advice: rejected.map(\.description).joined(separator: "; ")
  )
}

private func rejection(
  of kind: BackendKind,
  _ info: BPFMapInfo,
  _ layout: ValueLayout,
  _ allowed: Set<BackendKind>,
  _ isPrepared: Bool
) -> BackendChoice.Rejection? {
  guard allowed.contains(kind) else { return .notAllowed(kind) }
  switch kind {
  case .mapped where !info.flags.contains(.mmapable):
    return KernelFeature.mmapableTaskStorage(valueSize: info.valueSize).rejection(of: .mapped)
      ?? .init(.mapped, reason: "the map was not created with BPF_F_MMAPABLE")
  case .userPage where !layout.isInUserPage:
    return KernelFeature.userPages.rejection(of: .userPage)
      ?? .init(
        .userPage,
        reason: isPrepared
          ? "the map's elements are the values themselves"
          : "the object was opened with BPFObject.open(), which sets up no backend; use BPFObject()"
      )
  case .lookup where layout.isInUserPage:
    return .init(.lookup, reason: "the map's elements are addresses of pages, not the values")
  case .lookup:
    return nil
  default:
    return info.isWritable ? nil : .readOnly(kind)
  }
}
