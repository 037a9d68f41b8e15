// SPDX-License-Identifier: Apache-2.0
import SystemPackage

extension BPFObject {
  /// Returns a map of the loaded object. The map keeps the object alive.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` if it was not created.
  public func map(_ name: String) throws(BPFError) -> BPFMap {
    let attempt = "find map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      let map = try findMap(name, in: object, attempt: attempt)
      guard map.autocreate else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "the map was not created, because of setAutocreate(false, map:)"
        )
      }
      return try BPFMap(duplicating: map.descriptor, name: name, object: self)
    }
  }

  /// Returns all maps that the source declares and that were created, in the order of the file.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` if the object is not loaded, or
  ///   ``BPFError/Kind/outOfResources``.
  public func maps() throws(BPFError) -> [BPFMap] {
    let attempt = "find the maps"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      var found: [BPFMap] = []
      for name in mapNames {
        let map = try findMap(name, in: object, attempt: attempt)
        guard map.autocreate else { continue }
        found.append(try BPFMap(duplicating: map.descriptor, name: name, object: self))
      }
      return found
    }
  }

  /// Returns the flags of the map, or those that it will be created with.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func mapFlags(of name: String) throws(BPFError) -> BPFMapFlags {
    let attempt = "read the flags of map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let object = try state.existing(for: attempt, on: describedName)
      return try findMap(name, in: object, attempt: attempt).flags
    }
  }

  /// Sets the flags that the map is created with (`bpf_map__set_map_flags`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func setMapFlags(_ flags: BPFMapFlags, of name: String) throws(BPFError) {
    try configure(name, attempt: "set the flags of map '\(name)' to \(flags)") {
      $0.setFlags(flags)
    }
  }

  /// Sets the maximum number of entries of the map (`bpf_map__set_max_entries`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/invalidArgument``, or
  ///   ``BPFError/Kind/wrongState`` after loading.
  public func setMaxEntries(_ count: Int, of name: String) throws(BPFError) {
    let attempt = "set the entries of map '\(name)' to \(count)"
    guard let count = UInt32(exactly: count) else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedName,
        advice: "pass 0 to \(UInt32.max)"
      )
    }
    try configure(name, attempt: attempt) { $0.setMaxEntries(count) }
  }

  /// Sets whether ``load()`` creates the map (`bpf_map__set_autocreate`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func setAutocreate(_ autocreate: Bool, map name: String) throws(BPFError) {
    try configure(name, attempt: "set autocreate of map '\(name)'") {
      $0.setAutocreate(autocreate)
    }
  }

  /// Whether ``load()`` creates the map, or created it (`bpf_map__autocreate`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after ``close()``.
  package func autocreate(map name: String) throws(BPFError) -> Bool {
    let attempt = "read autocreate of map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let object = try state.existing(for: attempt, on: describedName)
      return try findMap(name, in: object, attempt: attempt).autocreate
    }
  }

  /// Makes ``load()`` use an existing map instead of creating one (`bpf_map__reuse_fd`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func reuse(_ map: BPFMap, as name: String) throws(BPFError) {
    try map.withDescriptor(for: "use it in \(describedName)") { (descriptor) throws(BPFError) in
      let number = descriptor.rawValue
      try configure(name, attempt: "use \(map.describedName) as map '\(name)'") {
        $0.reuse(number)
      }
    }
  }

  private func configure(
    _ name: String,
    attempt: String,
    _ change: (LibBPFMap) -> CInt
  ) throws(BPFError) {
    try withState { (state) throws(BPFError) in
      let object = try state.opened(for: attempt, on: describedName)
      let map = try findMap(name, in: object, attempt: attempt)
      var warnings = ""
      let code = capturingWarnings(&warnings) { change(map) }
      guard code == 0 else {
        throw BPFError(code: code, attempt: attempt, on: describedName, details: warnings)
      }
    }
  }

  /// The object file's declaration of the map.
  package func declaredMap(_ name: String, attempt: String) throws(BPFError) -> DeclaredMap {
    guard let map = declaredMaps.first(where: { $0.name == name }) else {
      throw noMap(attempt: attempt)
    }
    return map
  }

  func findMap(
    _ name: String,
    in object: LibBPFObject,
    attempt: String
  ) throws(BPFError) -> LibBPFMap {
    guard let index = declaredMaps.firstIndex(where: { $0.name == name }) else {
      // An internal map can also be found by its section name.
      if name.hasPrefix("."), let map = object.map(named: name) { return map }
      throw noMap(attempt: attempt)
    }
    // By position: reusing a map may rename it to the 15 bytes that the kernel keeps of a name.
    return object.maps[index]
  }

  private func noMap(attempt: String) -> BPFError {
    BPFError(
      .notFound,
      attempt: attempt,
      on: describedName,
      advice: mapNames.isEmpty
        ? "the object declares no map" : "its maps are: " + mapNames.joined(separator: ", ")
    )
  }
}
