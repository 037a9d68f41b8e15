// SPDX-License-Identifier: Apache-2.0
import SystemPackage

extension BPFPinDirectory {
  /// Detaches the programs, and removes the pins of
  /// ``BPFObject/loadAndAttach(pinnedIn:attributes:ifDifferent:)`` in the directory, also those of earlier
  /// versions of the object. Removes the directory and its subdirectories if they are empty afterwards
  /// and `loadAndAttach` created them.
  ///
  /// A path is removed only if the same map, program or link is still pinned there. Symbolic links and other
  /// files remain, and so do the directories that contain them.
  ///
  /// A program stays attached, and a map exists, while a process has a descriptor of the link or map. Close
  /// the object in this process, and end other processes that use the pins, such as the one that loaded them.
  /// Acquires the lock of `loadAndAttach`. A call of `loadAndAttach` that waits for the lock fails, and pins
  /// nothing.
  ///
  /// - Throws: ``BPFError/Kind/notFound`` if `loadAndAttach` pinned nothing there,
  ///   ``BPFError/Kind/invalidArgument`` if one of the directories is a symbolic link, or belongs to another
  ///   user than this process's and root, ``BPFError/Kind/permissionDenied``, or another system error. After
  ///   an error, call it again to remove the rest.
  public func remove() throws(BPFError) {
    let attempt = "remove the pins"
    let lock = try lock(for: attempt)
    defer { releaseLock(lock) }
    for directory in [descriptions, maps, programs, links]
    where directory == descriptions || directory.exists {
      // Other users must not be able to replace it by a symbolic link.
      closeDescriptor(try BPFFileSystem.openDirectory(directory, attempt: attempt))
    }
    for entry in try directoryEntries(descriptions, attempt: attempt).sorted() {
      // A process that was killed may have left several descriptions of a pin.
      let name = StagedPins.finalName(entry)
      let path = descriptions.appending(entry)
      guard let description = PinDescription(path) else { continue }
      if name.hasPrefix(Self.programPrefix) {
        let file = String(name.dropFirst(Self.programPrefix.count))
        try removePin(links.appending(file), attempt) { pin throws(BPFError) in
          try BPFLink(pinnedAt: pin).info.programID == description.id
        }
        try removePin(programs.appending(file), attempt) { pin throws(BPFError) in
          try BPFProgram(pinnedAt: pin).info.id == description.id
        }
      } else if name.hasPrefix(Self.mapPrefix) {
        try removeMap(String(name.dropFirst(Self.mapPrefix.count)), description, attempt)
      } else {
        continue
      }
      try unlink(path, attempt)
    }
    try removeTemporaryPins(attempt)
    for directory in [links, programs, maps] { directory.removeDirectory() }
    let isOnlyMarked = try directoryEntries(descriptions, attempt: attempt).allSatisfy {
      $0 == mark.lastComponent?.string
    }
    guard isOnlyMarked else { return }
    let isCreated = mark.linkTarget != nil
    // The mark records who may change the directory as long as it exists.
    let isEmpty = try directoryEntries(path, attempt: attempt).count == 1
    guard isEmpty || !isCreated else { return }
    if isCreated { try unlink(mark, attempt) }
    descriptions.removeDirectory()
    if isCreated { path.removeDirectory() }
  }

  /// Removes the pins of maps that `loadAndAttach` made, except those of the maps `names`.
  ///
  /// - Returns: Whether any were removed.
  func removeMaps(except names: [String], _ attempt: String) throws(BPFError) -> Bool {
    let kept = Set(names.map { description(ofMap: $0).lastComponent?.string })
    var isRemoved = false
    for entry in try directoryEntries(descriptions, attempt: attempt) {
      let name = StagedPins.finalName(entry)
      let path = descriptions.appending(entry)
      guard name.hasPrefix(Self.mapPrefix), !kept.contains(name),
        let description = PinDescription(path)
      else { continue }
      try removeMap(String(name.dropFirst(Self.mapPrefix.count)), description, attempt)
      try unlink(path, attempt)
      isRemoved = true
    }
    return isRemoved
  }

  private func removeMap(
    _ file: String,
    _ description: PinDescription,
    _ attempt: String
  ) throws(BPFError) {
    try removePin(maps.appending(file), attempt) { pin throws(BPFError) in
      try BPFMap(pinnedAt: pin, readOnly: true).info.id == description.id
    }
  }

  /// Removes a pin if it exists and `isOwn` returns true for the pinned object.
  private func removePin(
    _ path: FilePath,
    _ attempt: String,
    isOwn: (FilePath) throws(BPFError) -> Bool
  ) throws(BPFError) {
    guard path.linkTarget == nil, path.exists else { return }
    do throws(BPFError) {
      guard try isOwn(path) else { return }
    } catch {
      guard error.kind == .wrongType else { throw error }
      return
    }
    try unlink(path, attempt)
  }

  private func unlink(_ path: FilePath, _ attempt: String) throws(BPFError) {
    let code = path.unlink()
    guard code == 0 else {
      throw BPFError(
        code: code,
        attempt: attempt,
        on: "path '\(path)'",
        advice: "this needs write permission for the directory"
      )
    }
  }
}
