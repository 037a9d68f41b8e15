// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// What to do if pinned maps or programs do not match the object.
public enum BPFPinMismatchPolicy: Sendable, Hashable {
  /// Throw an error with the differences, and change nothing.
  case refuse
  /// Replace the pins, and remove those of maps and programs that the object does not have. Processes that have
  /// the old maps open continue to use them, but no program does.
  case replace
}

/// The result of ``BPFObject/loadAndAttach(pinnedIn:attributes:ifDifferent:)``.
public enum BPFPinOutcome: Sendable, Hashable {
  /// Nothing was pinned; everything was created.
  case created
  /// The pinned maps and programs match: the maps are used and the programs stay attached.
  case reused
  /// A pin was missing or did not match. Maps that match were kept, programs were replaced.
  case replaced
}

extension BPFObject {
  /// Loads the object, attaches its programs, and pins maps, programs and links, so that they outlive
  /// this process. Uses the pins of an earlier call in the directory, if they match the object.
  ///
  /// The directory has the subdirectories `maps`, `programs` and `links`, with a pin for each map,
  /// program and link, and `descriptions`, with information about them that the kernel does not provide.
  /// Only the maps get `attributes`; programs, links and directories belong to this process's user. Users
  /// who may open a map may list the subdirectories; with another owner, every user may. Clients open
  /// `directory/maps/NAME`.
  ///
  /// - A pinned map matches if type, sizes, and the layouts of keys and values are the same. If an earlier
  ///   version of the library pinned it without a description of the layout, only the layout of task storage
  ///   is compared, if this process may read it (CAP_SYS_ADMIN).
  /// - A section of global variables matches if their names, types and offsets are the same.
  /// - A pinned program matches if it has the same section, which names the hook, the same tag (a hash of
  ///   the instructions) and the same constants, and each instruction uses the same pinned maps and
  ///   variables. A change of the hook itself is not detected, such as a file that was replaced, or a
  ///   kernel module that was loaded again.
  /// - A pinned program that the object does not attach does not match.
  ///
  /// Programs that match stay attached without interruption. While a program is replaced, the old and the
  /// new one are both attached for a short time. Programs that ``attach(allowingNone:)`` skips, because
  /// libbpf cannot attach them by their section alone, are loaded and not pinned.
  ///
  /// Global variables that are not constants are pinned as maps, and keep their values.
  ///
  /// ``BPFPinDirectory/remove()`` detaches the programs and removes the pins. Calls for the same directory
  /// are serialized between processes with `flock(2)`.
  ///
  /// - Parameters:
  ///   - directory: A directory on a BPF file system. It is created if its parent exists. An existing
  ///     directory must belong to this process's user or root, and must not be a symbolic link. Unless an
  ///     earlier call created it, its mode and group are not changed, and clients need execute permission for
  ///     it. The file system is mounted if the path is below /sys/fs/bpf and none is mounted there.
  ///   - attributes: Who may open the maps. The default is the owner only.
  ///   - policy: What to do if pinned maps or programs do not match.
  /// - Returns: Whether the pins were created, reused or replaced.
  /// - Throws: ``BPFError/Kind/pinMismatch`` with the differences in ``BPFError/details``, and the errors of
  ///   ``load()``, ``attach(allowingNone:)``, ``BPFMap/pin(at:attributes:)`` and
  ///   ``BPFFileSystem/createDirectory(_:attributes:)``. Existing pins then remain, and nothing
  ///   else is pinned or attached. After a failure, the object can only be closed.
  @discardableResult
  public func loadAndAttach(
    pinnedIn directory: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes(),
    ifDifferent policy: BPFPinMismatchPolicy = .refuse
  ) throws(BPFError) -> BPFPinOutcome {
    let attempt = "load the object with the pins in '\(directory)'"
    try withState { (state) throws(BPFError) in
      _ = try state.opened(for: attempt, on: describedName)
    }
    let pins = BPFPinDirectory(directory)
    try checkFileNames(pins, attempt)
    let lock = try pins.createAndLock(attributes, for: attempt)
    defer { releaseLock(lock) }

    var differences: [String] = []
    let maps = try fittingMaps(pins, differences: &differences)
    if policy == .refuse, !differences.isEmpty {
      throw mismatch(differences, pins, attempt)
    }
    let isNew = maps.isEmpty && differences.isEmpty
    try load(reusing: maps)
    var programs = try fittingPrograms(pins, maps, differences: &differences)
    let candidates = Set(try attachablePrograms())
    for name in try stalePins(pins, except: candidates, attempt) {
      let difference = "program '\(name)': it is pinned, and the object attaches no such program"
      if !differences.contains(difference) { differences.append(difference) }
    }
    if policy == .refuse, !differences.isEmpty {
      throw mismatch(differences, pins, attempt)
    }

    var attached = try attach { !programs.contains($0) }
    var staged = StagedPins()
    do throws(BPFError) {
      // Programs share their constants, so all are kept or none.
      if !attached.isEmpty {
        attached.formUnion(try attach(where: programs.contains))
        programs = []
      }
      try stage(
        try pinnedMaps().filter { map in
          // Constants go with the programs.
          maps[map.name] == nil && !(map.isConstant && attached.isEmpty)
        },
        attributes,
        pins,
        &staged
      )
      for name in attached { try stage(program: name, pins, &staged) }
      // The caller may have changed the attributes.
      for name in maps.keys {
        try BPFFileSystem.apply(attributes, toPin: pins.map(name), attempt: attempt)
      }
      try staged.commit(attempt)
    } catch {
      staged.discard()
      withState { state in
        for name in attached { state.links[name] = nil }
      }
      throw error
    }
    let kept = programs.union(attached)
    withState { state in
      for name in kept { state.pinnedLinks[name] = pins.link(name) }
    }
    let stale = try stalePins(pins, except: kept, attempt)
    for name in stale { pins.removeProgram(name) }
    var hasChanged = !staged.isEmpty || !stale.isEmpty
    // The maps of global variables have the name of the object's file.
    if policy == .replace, try pins.removeMaps(except: pinnedMaps().map(\.name), attempt) {
      hasChanged = true
    }
    try pins.removeTemporaryPins(attempt)
    return isNew ? .created : hasChanged ? .replaced : .reused
  }

  // MARK: Matching

  /// The maps that ``load()`` creates.
  private func pinnedMaps() throws(BPFError) -> [DeclaredMap] {
    let attempt = "find the maps"
    return try withState { (state) throws(BPFError) in
      let object = try state.existing(for: attempt, on: describedName)
      var maps: [DeclaredMap] = []
      for var map in declaredMaps {
        let found = try findMap(map.name, in: object, attempt: attempt)
        guard found.autocreate else { continue }
        // The flag may have been changed since the object was opened.
        map.maxEntries = found.maxEntries
        maps.append(map)
      }
      return maps
    }
  }

  private func checkFileNames(_ pins: BPFPinDirectory, _ attempt: String) throws(BPFError) {
    var names: [FilePath: String] = [:]
    for map in try pinnedMaps() {
      let path = pins.map(map.name)
      guard let other = names.updateValue(map.name, forKey: path) else { continue }
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedName,
        advice:
          "the maps '\(other)' and '\(map.name)' would have the same pin, because the name of a pin cannot "
          + "contain a dot; rename one of them"
      )
    }
  }

  private func fittingMaps(
    _ pins: BPFPinDirectory,
    differences: inout [String]
  ) throws(BPFError) -> [String: BPFMap] {
    var fitting: [String: BPFMap] = [:]
    for map in try pinnedMaps() where !map.isConstant {
      let path = pins.map(map.name)
      guard path.exists else { continue }
      let pinned = try BPFMap(pinnedAt: path)
      let difference =
        if let preparation, !map.isInternal {
          try preparation.difference(
            of: pinned,
            describedAs: PinDescription(pins.description(ofMap: map.name), of: pinned.info.id)?
              .digest,
            from: map,
            in: self
          )
        } else {
          try difference(of: pinned.info, from: map, pins)
        }
      if let difference { differences.append(difference) } else { fitting[map.name] = pinned }
    }
    return fitting
  }

  private func difference(
    of pinned: BPFMapInfo,
    from map: DeclaredMap,
    _ pins: BPFPinDirectory
  ) throws(BPFError) -> String? {
    if let difference = map.difference(of: pinned) { return difference }
    guard map.isInternal else { return nil }
    let expected = try description(ofSection: map, id: pinned.id)
    return PinDescription(pins.description(ofMap: map.name), of: pinned.id) == expected
      ? nil
      : "map '\(map.name)': other variables are pinned, or they are at other offsets"
  }

  private func fittingPrograms(
    _ pins: BPFPinDirectory,
    _ maps: [String: BPFMap],
    differences: inout [String]
  ) throws(BPFError) -> Set<String> {
    var fitting: Set<String> = []
    let constants = try constants(pins)
    for name in try attachablePrograms() {
      guard pins.program(name).exists, pins.link(name).exists else { continue }
      let new = try program(name).loaded().info
      let pinned = try BPFProgram(pinnedAt: pins.program(name)).info
      let link = try BPFLink(pinnedAt: pins.link(name)).info
      guard link.programID == pinned.id,
        let found = PinDescription(pins.description(ofProgram: name), of: pinned.id)
      else { continue }
      let expected = try description(ofProgram: name)
      guard found.section == expected.section else {
        differences.append(
          "program '\(name)': section '\(found.section)' is pinned, the object's program has "
            + "'\(expected.section)'"
        )
        continue
      }
      guard new.tag == pinned.tag else {
        differences.append(
          "program '\(name)': tag \(pinned.tag) is pinned, the object's program has \(new.tag)"
        )
        continue
      }
      guard found.digest == expected.digest else {
        differences.append(
          "program '\(name)': the pinned program uses other maps, or global variables at other offsets"
        )
        continue
      }
      let used = constants.filter { new.mapIDs.contains($0.newID) }
      let shared = new.mapIDs.filter { id in !used.contains { $0.newID == id } }
      guard Set(shared + used.compactMap(\.pinnedID)) == Set(pinned.mapIDs) else {
        // It uses maps that are no longer pinned, or do not match.
        if differences.isEmpty {
          differences.append("program '\(name)': the pinned program uses other maps")
        }
        continue
      }
      guard used.allSatisfy(\.isEqual) else {
        differences.append("program '\(name)': the pinned program has other constants")
        continue
      }
      fitting.insert(name)
    }
    return fitting
  }

  /// A section of constants, and the pinned one of the same name.
  private struct Constants {
    var newID: UInt32
    var pinnedID: UInt32?
    var isEqual: Bool
  }

  private func constants(_ pins: BPFPinDirectory) throws(BPFError) -> [Constants] {
    var found: [Constants] = []
    for map in try pinnedMaps() where map.isConstant {
      let new = try createdMap(map)
      var constants = Constants(newID: try new.info.id, pinnedID: nil, isEqual: false)
      if pins.map(map.name).exists {
        let pinned = try BPFMap(pinnedAt: pins.map(map.name), readOnly: true)
        constants.pinnedID = try pinned.info.id
        constants.isEqual = try bytes(ofSection: pinned) == bytes(ofSection: new)
      }
      found.append(constants)
    }
    return found
  }

  private func bytes(ofSection map: BPFMap) throws(BPFError) -> [UInt8] {
    let attempt = "compare the constants"
    let info = try map.info
    guard info.type == .array, info.maxEntries == 1, info.valueSize < 1 << 26 else { return [] }
    let elements = try MapBytes(MapHandle(map, for: attempt), for: attempt)
    do throws(Errno) {
      return try elements.value(of: [0, 0, 0, 0])
    } catch {
      throw BPFError(errno: error, attempt: attempt, on: map.describedName)
    }
  }

  private func createdMap(_ map: DeclaredMap) throws(BPFError) -> BPFMap {
    let attempt = "find map '\(map.name)'"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      let found = try findMap(map.name, in: object, attempt: attempt)
      return try BPFMap(duplicating: found.descriptor, name: map.name, object: self)
    }
  }

  /// The programs that ``attach(allowingNone:)`` tries to attach, in the order of the file.
  private func attachablePrograms() throws(BPFError) -> [String] {
    let attempt = "find the programs"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      return object.programs.filter { $0.autoload && $0.autoattach }.map(\.name)
    }
  }

  // MARK: Changing pins

  private func stage(
    _ maps: [DeclaredMap],
    _ attributes: BPFPinAttributes,
    _ pins: BPFPinDirectory,
    _ staged: inout StagedPins
  ) throws(BPFError) {
    for map in maps {
      let created = try createdMap(map)
      let id = try created.info.id
      try staged.add(pins.description(ofMap: map.name), try description(of: map, id: id).write)
      try staged.add(pins.map(map.name)) { (path) throws(BPFError) in
        try created.pin(at: path, attributes: map.isConstant ? BPFPinAttributes() : attributes)
      }
    }
  }

  private func description(of map: DeclaredMap, id: UInt32) throws(BPFError) -> PinDescription {
    if map.isConstant { return PinDescription(id: id, digest: "") }
    if map.isInternal { return try description(ofSection: map, id: id) }
    return PinDescription(
      id: id,
      digest: try preparation?.description(ofValuesIn: map, of: self) ?? ""
    )
  }

  private func stage(
    program name: String,
    _ pins: BPFPinDirectory,
    _ staged: inout StagedPins
  ) throws(BPFError) {
    let program = try program(name)
    let loaded = try program.loaded()
    let link = try program.link()
    let description = try description(ofProgram: name)
    try staged.add(pins.description(ofProgram: name), description.write)
    try staged.add(pins.program(name)) { (path) throws(BPFError) in try loaded.pin(at: path) }
    try staged.add(pins.link(name)) { (path) throws(BPFError) in try link.pin(at: path) }
  }

  /// Programs other than these that have a pin of their own or of their link.
  private func stalePins(
    _ pins: BPFPinDirectory,
    except names: Set<String>,
    _ attempt: String
  ) throws(BPFError) -> [String] {
    var stale: Set<String> = []
    for directory in [pins.links, pins.programs] {
      stale.formUnion(try directoryEntries(directory, attempt: attempt))
    }
    return stale.subtracting(names).filter { !$0.hasPrefix(StagedPins.prefix) }.sorted()
  }

  private func mismatch(
    _ differences: [String],
    _ pins: BPFPinDirectory,
    _ attempt: String
  ) -> BPFError {
    BPFError(
      .pinMismatch,
      attempt: attempt,
      on: describedName,
      advice:
        "the pinned maps or programs do not match the object; load the object that pinned them, "
        + "pass ifDifferent: .replace, or remove '\(pins.path)'",
      details: differences.joined(separator: "\n")
    )
  }
}

extension DeclaredMap {
  /// Whether it contains the object's constants or the kernel's configuration.
  fileprivate var isConstant: Bool {
    isInternal && (name.contains(".rodata") || name.hasSuffix(".kconfig"))
  }
}
