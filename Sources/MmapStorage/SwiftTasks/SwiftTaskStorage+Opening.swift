extension SwiftTaskStorage {
  /// Opens a storage that a loaded object declares with `SWIFT_TASK_STORAGE`.
  ///
  /// Searches the Swift runtime of this process for the places that programs need, and verifies with
  /// the program itself that it finds what Swift says: in a child task, in `Task {}`, nested, outside
  /// of any scope, and on a second thread. Costs some milliseconds and starts threads, which end.
  ///
  /// - Parameters:
  ///   - object: The object, loaded.
  ///   - name: The storage's name in the program's source.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not know.
  /// - Throws: ``BPFError``: ``BPFError/Kind/unsupported`` if a step of the search or of the
  ///   verification fails, with the step and the runtime; ``BPFError/Kind/layoutMismatch`` with the
  ///   table in ``BPFError/details``; ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType``,
  ///   ``BPFError/Kind/wrongState`` before ``BPFObject/load()``, ``BPFError/Kind/outOfResources``.
  public convenience init(
    _ object: BPFObject,
    _ name: String,
    policy: LayoutPolicy = .exact
  ) async throws(BPFError) {
    let map = try object.map(name)
    guard object.programNames.contains(name + controlSuffix) else {
      throw notDeclared(map.describedName)
    }
    let control = SwiftTaskControl(
      adopting: try object.duplicateProgram(name + controlSuffix),
      for: map.describedName
    )
    try await self.init(map: map, control: control, layout: nil, policy: policy)
  }

  convenience init(
    map: BPFMap,
    control: SwiftTaskControl,
    layout: ValueLayout?,
    policy: LayoutPolicy
  ) async throws(BPFError) {
    let attempt = "follow Swift tasks"
    let info = try map.info
    let known = if let layout { layout } else { try map.valueLayout() }
    let geometry = try SlotGeometry(of: known, info: info, of: map.describedName)
    try LayoutComparison(
      swift: try Value.fieldType(),
      swiftName: "\(Value.self)",
      map: geometry.value,
      mapName: map.name,
      policy: policy
    ).check()
    let places = try await SwiftRuntimePlaces.find(for: attempt)
    let slots = try SwiftTaskRegistration.slots(ofMap: info.id) { 
      (registration) throws(BPFError) -> SwiftTaskSlots in
      let owner = try control.owner()
      let memory = try MappedSwiftTaskMemory(
        map,
        size: geometry.stride * geometry.count,
        control: control,
        owner: owner,
        registration: registration,
        attempt: attempt
      )
      let slots = SwiftTaskSlots(
        memory,
        stride: geometry.stride,
        count: geometry.count,
        valueSize: geometry.value.size,
        owner: owner
      )
      try control.register(places, key: slots.key)
      return slots
    }
    try await SwiftTaskVerification(slots: slots, control: control, attempt: attempt).run()
    self.init(slots)
  }
}

/// Behind the storage's name, the name of its program.
private let controlSuffix = "_control"

/// What the map's slots are like.
private struct SlotGeometry {
  var value: FieldType
  var stride: Int
  var count: Int

  init(of layout: ValueLayout, info: BPFMapInfo, of map: String) throws(BPFError) {
    guard info.type == .array, info.flags.contains(.mappable),
      case .structure(let slot) = layout.type,
      let value = slot.members.last, value.name == "value",
      value.offset == SwiftTaskSlots.valueOffset,
      slot.members.dropLast().map(\.name) == ["owner", "holder"],
      slot.members.dropLast().allSatisfy({ $0.type == .integer(size: 8, signed: false) }),
      info.valueSize == slot.size, info.maxEntries <= 1 << 24, info.maxEntries > 0
    else { throw notDeclared(map) }
    self.value = value.type
    stride = info.valueSize
    count = info.maxEntries
  }
}

private func notDeclared(_ map: String) -> BPFError {
  BPFError(
    .wrongType,
    attempt: "use it as storage of Swift tasks",
    on: map,
    advice: "declare it with SWIFT_TASK_STORAGE(name, type, slots) of swift_task_storage.bpf.h"
  )
}
