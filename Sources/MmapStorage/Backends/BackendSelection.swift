internal import SystemPackage

/// The fastest backend that a map and the kernel allow.
///
/// - Throws: ``StorageError``, as ``LookupBackend/init(_:layout:explanation:)``.
func selectBackend(
  for map: BPFMap,
  layout: ValueLayout?
) throws(StorageError) -> any StorageBackend {
  let info = try map.info
  guard info.type == .taskStorage, info.flags.contains(.mappable) else {
    return try LookupBackend(map, layout: layout, explanation: whyNotMapped)
  }
  guard info.isWritable else {
    return try LookupBackend(
      map,
      layout: layout,
      explanation: "the map's descriptor is read-only, so each view is a copy that cannot be "
        + "written back"
    )
  }
  return try MappedBackend(
    map,
    layout: layout,
    explanation: "the map was created with BPF_F_MMAPABLE, so each thread maps its own value"
  )
}

private var whyNotMapped: String {
  switch KernelFeature.mappableTaskStorage {
  case .missing(let errno):
    "this kernel does not accept BPF_F_MMAPABLE for task storage (\(errno)), so each view copies "
      + "its value with bpf_map_lookup_elem"
  case .available, .unknown:
    "the map was not created with BPF_F_MMAPABLE, so each view copies its value with "
      + "bpf_map_lookup_elem"
  }
}
