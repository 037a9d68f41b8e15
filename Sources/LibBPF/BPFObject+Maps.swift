// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import SystemPackage

extension BPFObject {
  /// A map of the loaded object. The map keeps the object alive.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` if it was not created.
  public func map(_ name: String) throws(BPFError) -> BPFMap {
    let attempt = "find map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.loaded(for: attempt, on: describedName)
      let map = try unsafe findMap(name, in: pointer, attempt: attempt)
      guard unsafe bpf_map__autocreate(map) else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "the map was not created, because of setAutocreate(false, map:)"
        )
      }
      return try unsafe BPFMap(duplicating: bpf_map__fd(map), name: name, object: self)
    }
  }

  /// All maps that the source declares and that were created, in the order of the file.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` if the object is not loaded, or
  ///   ``BPFError/Kind/outOfResources``.
  public func maps() throws(BPFError) -> [BPFMap] {
    let attempt = "find the maps"
    return try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.loaded(for: attempt, on: describedName)
      var found: [BPFMap] = []
      for name in mapNames {
        let map = try unsafe findMap(name, in: pointer, attempt: attempt)
        guard unsafe bpf_map__autocreate(map) else { continue }
        unsafe found.append(try BPFMap(duplicating: bpf_map__fd(map), name: name, object: self))
      }
      return found
    }
  }

  /// The flags that the map has, or will be created with.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func mapFlags(of name: String) throws(BPFError) -> BPFMapFlags {
    let attempt = "read the flags of map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.existing(for: attempt, on: describedName)
      return unsafe BPFMapFlags(
        rawValue: bpf_map__map_flags(try findMap(name, in: pointer, attempt: attempt))
      )
    }
  }

  /// Sets the flags that the map is created with (`bpf_map__set_map_flags`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func setMapFlags(_ flags: BPFMapFlags, of name: String) throws(BPFError) {
    try unsafe configure(name, attempt: "set the flags of map '\(name)' to \(flags)") {
      unsafe bpf_map__set_map_flags($0, flags.rawValue)
    }
  }

  /// Sets how many entries the map has (`bpf_map__set_max_entries`).
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
    try unsafe configure(name, attempt: attempt) { unsafe bpf_map__set_max_entries($0, count) }
  }

  /// Sets whether ``load()`` creates the map (`bpf_map__set_autocreate`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func setAutocreate(_ autocreate: Bool, map name: String) throws(BPFError) {
    try unsafe configure(name, attempt: "set autocreate of map '\(name)'") {
      unsafe bpf_map__set_autocreate($0, autocreate)
    }
  }

  /// Whether ``load()`` creates the map, or created it (`bpf_map__autocreate`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after ``close()``.
  package func autocreate(map name: String) throws(BPFError) -> Bool {
    let attempt = "read autocreate of map '\(name)'"
    return try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.existing(for: attempt, on: describedName)
      return unsafe bpf_map__autocreate(try findMap(name, in: pointer, attempt: attempt))
    }
  }

  /// Has ``load()`` use an existing map instead of creating one (`bpf_map__reuse_fd`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func reuse(_ map: BPFMap, as name: String) throws(BPFError) {
    try map.withDescriptor(for: "use it in \(describedName)") { (descriptor) throws(BPFError) in
      let number = descriptor.rawValue
      try unsafe configure(name, attempt: "use \(map.describedName) as map '\(name)'") {
        unsafe bpf_map__reuse_fd($0, number)
      }
    }
  }

  private func configure(
    _ name: String,
    attempt: String,
    _ change: (OpaquePointer) -> CInt
  ) throws(BPFError) {
    try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.opened(for: attempt, on: describedName)
      let map = try unsafe findMap(name, in: pointer, attempt: attempt)
      var warnings = ""
      let code = capturingWarnings(&warnings) { unsafe change(map) }
      guard code == 0 else {
        throw BPFError(code: code, attempt: attempt, on: describedName, details: warnings)
      }
    }
  }

  /// What the object file says about the map.
  package func declaredMap(_ name: String, attempt: String) throws(BPFError) -> DeclaredMap {
    guard let map = declaredMaps.first(where: { $0.name == name }) else {
      throw noMap(attempt: attempt)
    }
    return map
  }

  func findMap(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> OpaquePointer {
    guard let index = declaredMaps.firstIndex(where: { $0.name == name }) else {
      // An internal map may also be named by its section.
      if name.hasPrefix("."), let map = unsafe bpf_object__find_map_by_name(pointer, name) {
        return unsafe map
      }
      throw noMap(attempt: attempt)
    }
    // By position: reusing a map may rename it to the 15 bytes that the kernel keeps of a name.
    var map = unsafe bpf_object__next_map(pointer, nil)
    for _ in 0..<index {
      unsafe map = unsafe map.flatMap { unsafe bpf_object__next_map(pointer, $0) }
    }
    guard let map = unsafe map else { throw noMap(attempt: attempt) }
    return unsafe map
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
