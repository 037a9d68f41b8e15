// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

extension SwiftTaskStorage {
  /// Opens a storage that a loaded object declares with `SWIFT_TASK_STORAGE`.
  ///
  /// Searches the Swift runtime of this process for the offsets that programs need. Then verifies that the
  /// program finds the same Swift tasks and scopes as Swift: in a child task, in `Task {}`, in nested scopes,
  /// outside of any scope, and on a second thread. Costs some milliseconds and starts threads, which end.
  ///
  /// - Parameters:
  ///   - object: The object, loaded.
  ///   - name: The storage's name in the program's source.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
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
    let control = try SwiftTaskControl(of: object, map)
    try await self.init(map: map, control: control, layout: nil, policy: policy)
  }

  convenience init(
    map: BPFMap,
    control: SwiftTaskControl,
    layout: ValueLayout?,
    policy: LayoutPolicy,
    places: SwiftRuntimePlaces? = nil
  ) async throws(BPFError) {
    let attempt = "follow Swift tasks"
    let info = try map.info
    let known = if let layout { layout } else { try map.valueLayout() }
    let value = try slotValue(of: known, in: map.describedName)
    let stride = info.valueSize
    let count = info.maxEntries
    guard info.type == .array, info.flags.contains(.mmapable), stride == known.type.size,
      (1...1 << 24).contains(count)
    else { throw notDeclared(map.describedName) }
    try Self.checkLayout(value, map: map.name, policy: policy)
    try control.check(uses: info.id)
    let places = if let places { places } else { try await SwiftRuntimePlaces.find(for: attempt) }
    let slots = try SwiftTaskRegistration.slots(
      ofMap: info.id,
      make: { (registration) throws(BPFError) in
        let owner = try control.owner()
        let memory = try MappedSwiftTaskMemory(
          map,
          size: stride * count,
          control: control,
          owner: owner,
          registration: registration,
          attempt: attempt
        )
        return SwiftTaskSlots(
          memory,
          stride: stride,
          count: count,
          valueSize: value.size,
          owner: owner
        )
      },
      register: { (slots) throws(BPFError) in try control.register(places, key: slots.key) }
    )
    try await SwiftTaskVerification(slots: slots, control: control, attempt: attempt).run()
    self.init(slots)
  }
}

extension SwiftTaskStorage {
  static func checkLayout(
    _ value: FieldType,
    map: String,
    policy: LayoutPolicy
  ) throws(BPFError) {
    try LayoutComparison(
      swift: try Value.fieldType(),
      swiftName: "\(Value.self)",
      map: value,
      mapName: map,
      policy: policy
    ).check(of: Value.self)
  }
}

/// The type of the values in a map of slots.
func slotValue(of layout: ValueLayout, in map: String) throws(BPFError) -> FieldType {
  guard case .structure(let slot) = layout.type, let value = slot.members.last,
    value.name == "value", value.offset == SwiftTaskSlots.valueOffset,
    slot.members.dropLast().map(\.name) == ["owner", "holder", "task", "binding"],
    slot.members.dropLast().allSatisfy({ $0.type == .integer(size: 8, signed: false) })
  else { throw notDeclared(map) }
  return value.type
}

func notDeclared(_ map: String) -> BPFError {
  BPFError(
    .wrongType,
    attempt: "use it as storage of Swift tasks",
    on: map,
    advice: "declare it with SWIFT_TASK_STORAGE(name, type, slots) of swift_task_storage.bpf.h"
  )
}

extension SwiftTaskStorage {
  /// With shifted offsets, for tests of the verification.
  package convenience init(
    _ object: BPFObject,
    _ name: String,
    shiftingTaskWord taskWord: Int64 = 0,
    bindings: UInt32 = 0,
    tag: UInt32 = 0
  ) async throws(BPFError) {
    let map = try object.map(name)
    var places = try await SwiftRuntimePlaces.find(for: "follow Swift tasks")
    places.taskWord += taskWord
    places.bindings += bindings
    places.tag += tag
    try await self.init(
      map: map,
      control: try SwiftTaskControl(of: object, map),
      layout: nil,
      policy: .exact,
      places: places
    )
  }
}
