// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// What to do if what is pinned does not fit the object.
public enum BPFPinMismatchPolicy: Sendable, Hashable {
  /// Throw an error that says what differs, and change nothing.
  case refuse
  /// Replace the pins. Processes that have the old maps open go on with those, which no program uses
  /// any more.
  case replace
}

/// What ``BPFObject/loadAndAttach(pinnedIn:attributes:ifDifferent:)`` did.
public enum BPFPinOutcome: Sendable, Hashable {
  /// Nothing was pinned; everything was created.
  case created
  /// What was pinned fits: the maps are used and the programs stay attached.
  case reused
  /// Something was missing or did not fit. Maps that fit were kept, programs were replaced.
  case replaced
}

extension BPFObject {
  /// Loads the object, attaches its programs, and pins maps, programs and links, so that they outlive
  /// this process. Uses what an earlier call pinned in the directory, if it fits.
  ///
  /// The directory has the subdirectories `maps`, `programs` and `links`, with a pin for each map,
  /// program and link, which has its name, and `descriptions`, with what the kernel does not tell about
  /// them. Only the maps get `attributes`; programs, links and
  /// directories belong to this process's user. Those who may open a map may list the subdirectories;
  /// with another owner, every user may. Clients open `directory/maps/NAME`.
  ///
  /// A pinned map fits if type and sizes and, where this process may read it (CAP_SYS_ADMIN), the layout
  /// of the value are the same. A section of global variables fits if their names, types and offsets
  /// are the same. A pinned program fits if it has the same section, which names the hook, the same tag
  /// (a hash of the instructions), the same constants, and uses the pinned maps and variables in the same
  /// places. That the hook's function is another one, such as after its file was replaced or its kernel
  /// module was loaded again, is not noticed. Programs that fit run on without
  /// interruption. A pinned program that the object does not attach is a difference, too. A program
  /// that is replaced and its successor are both attached for a moment.
  ///
  /// Global variables that are not constants are pinned as maps, and keep their values.
  ///
  /// Calls for the same directory are serialized between processes with `flock(2)`.
  ///
  /// - Parameters:
  ///   - directory: A directory on a BPF file system. It is created if its parent exists. An existing
  ///     one must belong to this process's user or root, and not be a symbolic link. The file system is
  ///     mounted if the path is below /sys/fs/bpf and none is mounted there.
  ///   - attributes: Who may open the maps. The default is the owner alone.
  ///   - policy: What to do if what is pinned does not fit.
  /// - Returns: What was done.
  /// - Throws: ``BPFError/Kind/pinMismatch`` with the differences in ``BPFError/details``, and what
  ///   ``load()``, ``attach()``, ``BPFMap/pin(at:attributes:)`` and
  ///   ``BPFFileSystem/createDirectory(_:attributes:)`` throw. After a failure the object can
  ///   only be closed.
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
    try pins.create(attributes)
    let lock = try pins.lock(for: attempt)
    defer { closeDescriptor(lock) }

    var differences: [String] = []
    let maps = try fittingMaps(pins, differences: &differences)
    if policy == .refuse, !differences.isEmpty {
      throw mismatch(differences, pins, attempt)
    }
    let isNew = maps.isEmpty && differences.isEmpty
    try load(reusing: maps)
    var programs = try fittingPrograms(pins, maps, differences: &differences)
    let stale = try stalePins(pins, attempt)
    for name in stale.map(\.name) where !name.hasPrefix(Self.temporaryPrefix) {
      let difference = "program '\(name)': it is pinned, and the object attaches no such program"
      if !differences.contains(difference) { differences.append(difference) }
    }
    if policy == .refuse, !differences.isEmpty {
      throw mismatch(differences, pins, attempt)
    }

    var hasChanged = false
    // Programs share their constants, so all are kept or none.
    let isComplete = try attachablePrograms().allSatisfy(programs.contains)
    if !isComplete { programs = [] }
    for map in try pinnedMaps() where maps[map.name] == nil {
      // Constants go with the programs.
      if map.isConstant, isComplete { continue }
      hasChanged = true
      let created = try createdMap(map)
      if map.isInternal, !map.isConstant {
        try description(ofSection: map, id: created.info.id)
          .write(pins.description(ofMap: map.name), attempt: attempt)
      }
      try replace(pins.map(map.name), attempt) { (path) throws(BPFError) in
        try created.pin(at: path, attributes: map.isConstant ? BPFPinAttributes() : attributes)
      }
    }
    // The caller may have changed the attributes.
    for name in maps.keys {
      try BPFFileSystem.apply(attributes, toPin: pins.map(name), attempt: attempt)
    }
    for name in try attachablePrograms() where !programs.contains(name) {
      hasChanged = true
      try attach(program: name)
      let program = try program(name)
      let link = try link(ofProgram: name)
      try description(ofProgram: name)
        .write(pins.description(ofProgram: name), attempt: attempt)
      try replace(pins.program(name), attempt) { (path) throws(BPFError) in
        try program.pin(at: path)
      }
      try replace(pins.link(name), attempt) { (path) throws(BPFError) in try link.pin(at: path) }
    }
    let pinned = try attachablePrograms()
    withState { state in
      for name in pinned { state.pinnedLinks[name] = pins.link(name) }
    }
    for pin in stale {
      hasChanged = hasChanged || !pin.name.hasPrefix(Self.temporaryPrefix)
      pin.path.unlink()
      pins.description(ofProgram: pin.name).unlink()
    }
    return isNew ? .created : hasChanged ? .replaced : .reused
  }

  // MARK: What fits

  /// The maps that ``load()`` creates, except for the kernel's configuration.
  private func pinnedMaps() throws(BPFError) -> [DeclaredMap] {
    let attempt = "find the maps"
    return try withState { (state) throws(BPFError) in
      let object = try state.existing(for: attempt, on: describedName)
      var maps: [DeclaredMap] = []
      for map in declaredMaps where !map.name.hasSuffix(".kconfig") {
        if try findMap(map.name, in: object, attempt: attempt).autocreate {
          maps.append(map)
        }
      }
      return maps
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
          try preparation.difference(of: pinned, from: map, in: self)
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
      let new = try program(name).info
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
        // It uses maps that are not pinned any more, or do not fit.
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

  /// The programs that ``attach()`` attaches.
  private func attachablePrograms() throws(BPFError) -> [String] {
    let attempt = "find the programs"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      return object.programs
        .filter { $0.autoload && $0.autoattach && $0.section.contains("/") }
        .map(\.name)
    }
  }

  // MARK: Changing pins

  private static var temporaryPrefix: String { "~" }

  /// Pins with a temporary name and renames, so that the path has the old or the new object at any
  /// time.
  private func replace(
    _ path: FilePath,
    _ attempt: String,
    pin: (FilePath) throws(BPFError) -> Void
  ) throws(BPFError) {
    let temporary = path.removingLastComponent()
      .appending(Self.temporaryPrefix + (path.lastComponent?.string ?? ""))
    temporary.unlink()
    try pin(temporary)
    let code = temporary.rename(to: path)
    guard code == 0 else {
      temporary.unlink()
      throw BPFError(code: code, attempt: attempt, on: "path '\(path)'")
    }
  }

  /// Pins of programs and links that the object does not have, and temporary ones that were left behind.
  private func stalePins(
    _ pins: BPFPinDirectory,
    _ attempt: String
  ) throws(BPFError) -> [(name: String, path: FilePath)] {
    let names = Set(try attachablePrograms())
    var stale: [(name: String, path: FilePath)] = []
    for directory in [pins.links, pins.programs] {
      for name in try directoryEntries(directory, attempt: attempt) where !names.contains(name) {
        stale.append((name, directory.appending(name)))
      }
    }
    return stale
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
        "what is pinned there does not fit the object; use it with the object that pinned it, "
        + "pass ifDifferent: .replace, or remove '\(pins.path)'",
      details: differences.joined(separator: "\n")
    )
  }
}

extension DeclaredMap {
  /// Whether it has the object's constants.
  fileprivate var isConstant: Bool { isInternal && name.contains(".rodata") }
}
