import CLibBPFShim
import Synchronization
import SystemPackage

extension BPFObject {
  /// The declared maps that exist, without those that hold globals.
  ///
  /// Costs a descriptor for each.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` before ``load()``, or
  ///   ``BPFError/Kind/outOfResources``.
  public func maps() throws(BPFError) -> [BPFMap] {
    let attempt = "find the maps"
    return try state.withLock { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      var found: [BPFMap] = []
      for name in mapNames {
        let map = try findMap(name, in: pointer, attempt: attempt)
        if mms_map_autocreate(map) { found.append(try open(map, named: name, in: pointer)) }
      }
      return found
    }
  }

  /// The map of that name, with a descriptor of its own.
  ///
  /// - Parameter name: The name in the program's source, or the section of an internal map, such
  ///   as ".bss".
  /// - Returns: The map, to be closed or dropped on its own.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongState`` before ``load()``,
  ///   or ``BPFError/Kind/outOfResources``.
  public func map(_ name: String) throws(BPFError) -> BPFMap {
    let attempt = "find map '\(name)'"
    return try state.withLock { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      let map = try findMap(name, in: pointer, attempt: attempt)
      guard mms_map_autocreate(map) else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "the map was left out with setCreates(false, map:)"
        )
      }
      return try open(map, named: name, in: pointer)
    }
  }

  /// What a value of the map is, from the object's own type information.
  ///
  /// Needs no rights and no loading: a process that may not load can check a layout this way.
  ///
  /// - Parameter name: The map's name in the program's source.
  /// - Returns: The type of the map's value.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutUnavailable`` if the map
  ///   does not declare its value's type, ``BPFError/Kind/invalidObject`` if the type
  ///   information makes no sense, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func layout(ofMap name: String) throws(BPFError) -> ValueLayout {
    let attempt = "read the value layout of map '\(name)'"
    return try state.withLock { (state) throws(BPFError) in
      let pointer = try state.existing(for: attempt, on: describedName)
      let map = try findMap(name, in: pointer, attempt: attempt)
      return try layout(of: map, named: name, in: pointer).get()
    }
  }

  /// How the map is going to be created, or was.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after
  ///   ``close()``.
  public func mapFlags(of name: String) throws(BPFError) -> BPFMapFlags {
    let attempt = "read the flags of map '\(name)'"
    return try state.withLock { (state) throws(BPFError) in
      let pointer = try state.existing(for: attempt, on: describedName)
      return BPFMapFlags(
        rawValue: mms_map_flags(try findMap(name, in: pointer, attempt: attempt))
      )
    }
  }

  /// Replaces the flags that the map is going to be created with.
  ///
  /// To add one, begin with ``mapFlags(of:)``. Whether the kernel takes them shows at ``load()``.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after
  ///   ``load()``.
  public func setMapFlags(_ flags: BPFMapFlags, of name: String) throws(BPFError) {
    try configure(name, attempt: "set the flags of map '\(name)' to \(flags)") {
      mms_map_set_flags($0, flags.rawValue)
    }
  }

  /// Replaces the limit of entries that the map is going to be created with.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/invalidArgument``, or
  ///   ``BPFError/Kind/wrongState`` after ``load()``.
  public func setMaxEntries(_ count: Int, of name: String) throws(BPFError) {
    let attempt = "set the entries of map '\(name)' to \(count)"
    guard let count = UInt32(exactly: count) else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedName,
        advice: "give 0 to \(UInt32.max)"
      )
    }
    try configure(name, attempt: attempt) { mms_map_set_max_entries($0, count) }
  }

  /// Says whether ``load()`` creates the map; it does unless told otherwise.
  ///
  /// A program that may run must not use a map that is left out; the verifier does not mind a use
  /// in a branch that a read-only global rules out.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after
  ///   ``load()``.
  public func setCreates(_ creates: Bool, map name: String) throws(BPFError) {
    try configure(name, attempt: "set whether map '\(name)' is created") {
      mms_map_set_autocreate($0, creates)
    }
  }

  /// Uses a map that exists instead of creating the one that is declared.
  func reuse(_ map: BPFMap, as name: String) throws(BPFError) {
    try map.withDescriptor(for: "use it in \(describedName)") {
      (descriptor) throws(BPFError) in
      let number = descriptor.rawValue
      try configure(name, attempt: "use \(map.describedName) as map '\(name)'") {
        mms_map_reuse($0, number)
      }
    }
  }

  private func configure(
    _ name: String,
    attempt: String,
    _ change: @Sendable (OpaquePointer) -> CInt
  ) throws(BPFError) {
    try state.withLock { (state) throws(BPFError) in
      let pointer = try state.opened(for: attempt, on: describedName)
      let map = try findMap(name, in: pointer, attempt: attempt)
      var warnings = ""
      let code = capturingWarnings(&warnings) { change(map) }
      guard code == 0 else {
        throw BPFError(code: code, attempt: attempt, on: describedName, details: warnings)
      }
    }
  }

  private func open(
    _ map: OpaquePointer,
    named name: String,
    in pointer: OpaquePointer
  ) throws(BPFError) -> BPFMap {
    try BPFMap(
      duplicating: mms_map_fd(map),
      name: name,
      origin: BPFMap.Origin(
        layout: layout(of: map, named: name, in: pointer),
        allowedBackends: allowedBackends,
        userPageObstacle: userPages.obstacle(of: name)
      )
    )
  }

  private func findMap(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> OpaquePointer {
    guard let map = mms_object_find_map(pointer, userPages.created(name)) else {
      throw BPFError(
        .notFound,
        attempt: attempt,
        on: describedName,
        advice: mapNames.isEmpty
          ? "the object declares no map" : "its maps are: " + mapNames.joined(separator: ", ")
      )
    }
    return map
  }

  func layout(
    of map: OpaquePointer,
    named name: String,
    in pointer: OpaquePointer
  ) -> Result<ValueLayout, BPFError> {
    Result { () throws(BPFError) in
      let attempt = "read the value layout"
      let subject = "map '\(name)' of \(describedName)"
      let type = mms_map_value_type_id(map)
      guard type != 0, let btf = mms_object_btf(pointer) else {
        throw BPFError(
          .layoutUnavailable,
          attempt: attempt,
          on: subject,
          advice: "declare the value with __type(value, struct …) and compile with -g"
        )
      }
      var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
      var layout = try reader.valueLayout(ofType: type, size: Int(mms_map_value_size(map)))
      layout.userPageTypeID = userPages.counterpart(of: name).flatMap {
        mms_object_find_map(pointer, $0).map(mms_map_value_type_id)
      }
      return layout
    }
  }
}
