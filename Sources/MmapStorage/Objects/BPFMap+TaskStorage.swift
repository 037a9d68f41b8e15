// SPDX-License-Identifier: Apache-2.0
package import LibBPF

extension BPFMap {
  /// Creates a task storage map whose value is `wordCount` words of 8 bytes, or is a `__uptr` to a
  /// page with as many words.
  package convenience init(
    creatingTaskStorage name: String,
    wordCount: Int,
    inUserPage: Bool = false,
    flags: BPFMapFlags = .noPrealloc
  ) throws(BPFError) {
    guard wordCount > 0, wordCount < 1 << 28 else {
      throw BPFError(
        .invalidArgument,
        attempt: "create a task storage map",
        on: "map '\(name)'",
        advice: "a size is out of range"
      )
    }
    var types = try BTFBuilder(for: "map '\(name)'")
    let size = UInt32(wordCount * 8)
    let key = types.integer("int", size: 4, isSigned: true)
    let word = types.integer("unsigned long long", size: 8)
    let words = types.array(of: word, count: UInt32(wordCount), index: key)
    // The kernel has its own `struct page`, and rejects another type of that name.
    let structure = types.structure(
      inUserPage ? "mms_page" : "value",
      size: size,
      members: [("words", words, 0)]
    )
    let value =
      if inUserPage {
        types.structure(
          "value",
          size: 8,
          members: [("page", types.pointer(to: structure, tag: "uptr"), 0)]
        )
      } else {
        structure
      }
    try self.init(
      creating: .taskStorage,
      name: name,
      keySize: MemoryLayout<CInt>.size,
      valueSize: inUserPage ? 8 : wordCount * 8,
      flags: flags,
      types: MapTypes(btf: try types.finish(), key: key, value: value)
    )
  }

  /// The kernel's information about the map, if it is of task storage.
  func taskStorageInfo() throws(BPFError) -> BPFMapInfo {
    let info = try info
    try requireTaskStorage(info.type, of: describedName)
    return info
  }
}

/// Throws if a map is not of task storage.
package func requireTaskStorage(_ type: BPFMapType, of map: String) throws(BPFError) {
  guard type == .taskStorage else {
    throw BPFError(
      .wrongType,
      attempt: "use it as task-local storage",
      on: map,
      advice: "it is of type \(type); declare it with __uint(type, BPF_MAP_TYPE_TASK_STORAGE)"
    )
  }
}
