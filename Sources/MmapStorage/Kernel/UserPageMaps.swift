import CLibBPFShim

/// The maps of an object that `TASK_STORAGE` of mmap_storage.bpf.h declares twice, one with the
/// values and one with the addresses of user pages. Of each two, one is created.
struct UserPageMaps: Sendable {
  /// What a value may have to be in a user page: as `TASK_STORAGE_PAGE_SIZE` in the header.
  private static let largestValue = 4096
  private static let suffix = "_user_page"

  private struct Pair {
    var valueSize: Int
    var inUserPages: Bool
  }

  /// By the declared name, which is that of the map with the values.
  private var pairs: [String: Pair] = [:]

  /// Tells libbpf which to create.
  init(in object: OpaquePointer, inUse: Bool) {
    var next = mms_object_next_map(object, nil)
    while let map = next {
      next = mms_object_next_map(object, map)
      let name = String(cString: mms_map_name(map))
      guard let counterpart = mms_object_find_map(object, name + Self.suffix),
        [map, counterpart].allSatisfy({ BPFMapType(rawValue: mms_map_type($0)) == .taskStorage })
      else { continue }
      let size = Int(mms_map_value_size(map))
      let pair = Pair(valueSize: size, inUserPages: inUse && size <= Self.largestValue)
      _ = mms_map_set_autocreate(map, !pair.inUserPages)
      _ = mms_map_set_autocreate(counterpart, pair.inUserPages)
      pairs[name] = pair
    }
  }

  /// The one to create of the maps that are declared with this name.
  func created(_ name: String) -> String {
    pairs[name]?.inUserPages == true ? name + Self.suffix : name
  }

  /// The one of the two that has the addresses of user pages.
  func counterpart(of name: String) -> String? {
    pairs[name].map { _ in name + Self.suffix }
  }

  /// Whether this map is not declared itself, but stands in for another one.
  func isCounterpart(_ name: String) -> Bool {
    name.hasSuffix(Self.suffix) && pairs[String(name.dropLast(Self.suffix.count))] != nil
  }

  /// Why the values of a map are not in user pages, if it is the map's own fault.
  func obstacle(of name: String) -> BackendChoice.Rejection? {
    guard let pair = pairs[name], pair.valueSize > Self.largestValue else { return nil }
    return .init(
      .userPage,
      reason: "a value has \(pair.valueSize) bytes, and a page \(Self.largestValue)"
    )
  }
}

/// Has the programs look for values in user pages, where they can do either, the kernel has user
/// pages, and there is nothing better; tells whether it did.
func takeUserPages(in bytes: inout [UInt8], allowing backends: Set<BackendKind>) -> Bool {
  guard backends.contains(.userPage) else { return false }
  var taken = bytes
  guard
    taken.withUnsafeMutableBytes({ bytes in
      bytes.baseAddress.map { mms_take_user_page_jumps($0, bytes.count) } ?? 0
    }) > 0
  else { return false }
  if backends.contains(.mapped), KernelFeature.mappableTaskStorage == .available { return false }
  guard KernelFeature.userPages == .available else { return false }
  bytes = taken
  return true
}
