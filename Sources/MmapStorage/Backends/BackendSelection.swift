/// The fastest backend that a map, the kernel and the caller allow.
///
/// - Throws: ``BPFError/Kind/unsupported`` if the caller allows none that would do, and what the
///   backend's initializer throws.
func selectBackend(
  for map: BPFMap,
  layout: ValueLayout?,
  allowing allowed: Set<BackendKind>
) throws(BPFError) -> any StorageBackend {
  let info = try map.taskStorageInfo()
  var layout = if let layout { layout } else { try map.valueLayout() }
  if let id = layout.userPageTypeID { layout.isInUserPage = info.btfValueTypeID == id }
  let allowed = map.origin.map { allowed.intersection($0.allowedBackends) } ?? allowed
  var rejected: [BackendChoice.Rejection] = []
  for kind in [BackendKind.mapped, .userPage, .lookup] {
    if let obstacle = obstacle(to: kind, info, layout, of: map, allowed) {
      rejected.append(obstacle)
      continue
    }
    return switch kind {
    case .mapped: try MappedBackend(map, layout: layout, rejected: rejected)
    case .userPage: try UserPageBackend(map, layout: layout, rejected: rejected)
    case .lookup, .fake: try LookupBackend(map, layout: layout, rejected: rejected)
    }
  }
  throw BPFError(
    .unsupported,
    attempt: "choose a backend",
    on: map.describedName,
    errno: rejected.lazy.compactMap(\.errno).first,
    advice: rejected.map(\.description).joined(separator: "; ")
  )
}

private func obstacle(
  to kind: BackendKind,
  _ info: BPFMapInfo,
  _ layout: ValueLayout,
  of map: BPFMap,
  _ allowed: Set<BackendKind>
) -> BackendChoice.Rejection? {
  guard allowed.contains(kind) else {
    return .init(kind, reason: "the program does not allow it")
  }
  switch kind {
  case .mapped where !info.flags.contains(.mappable):
    return KernelFeature.mappableTaskStorage.rejection(of: .mapped)
      ?? .init(.mapped, reason: "the map was not created with BPF_F_MMAPABLE")
  case .userPage where !layout.isInUserPage:
    return map.origin?.userPageObstacle ?? KernelFeature.userPages.rejection(of: .userPage)
      ?? .init(.userPage, reason: "the map was not declared with TASK_STORAGE")
  case .mapped, .userPage:
    return info.isWritable
      ? nil : .init(kind, reason: "the map's descriptor is read-only, or the map is frozen")
  case .lookup where layout.isInUserPage:
    return .init(.lookup, reason: "the map holds the addresses of pages, and not the values")
  case .lookup, .fake:
    return nil
  }
}
