// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// The interface of an object to user space.
struct ObjectFacts {
  /// How a map is used from Swift.
  enum Use {
    case taskStorage(CType)
    /// Storage of Swift tasks.
    case swiftTasks(CType)
    /// A map of another type with typed keys and values: the generic type, and its arguments.
    case elements(String, [CType])
    /// A ring buffer without a record type.
    case rawRingBuffer
    case other
  }

  struct Map {
    var name: String
    var use: Use

    var types: [CType] {
      switch use {
      case .taskStorage(let value), .swiftTasks(let value): [value]
      case .elements(_, let types): types
      case .rawRingBuffer, .other: []
      }
    }
  }

  struct Variable {
    var name: String
    var section: String
    var offset: Int
    var type: CType
    var declaration: String
    /// Whether user space can map the section.
    var isMapped: Bool

    var isConstant: Bool { section.hasPrefix(".rodata") }
  }

  let object: BPFObject
  let table: TypeTable
  var maps: [Map] = []
  var variables: [Variable] = []
  var programs: [String] = []
  private var btf: BTF { table.btf }

  init(object: BPFObject, table: TypeTable) {
    self.object = object
    self.table = table
  }

  mutating func read() throws {
    let declared = object.declaredMaps.filter { !$0.isInternal }
    var hidden: Set<String> = []
    for map in declared {
      // SWIFT_TASK_STORAGE declares these for internal use.
      guard try swiftTaskValue(of: map) != nil else { continue }
      hidden.formUnion(["\(map.name)_processes", "\(map.name)_control"])
    }
    for map in declared where !hidden.contains(map.name) && !map.name.hasPrefix("__") {
      maps.append(Map(name: map.name, use: try use(of: map)))
    }
    programs = object.programNames.filter { !hidden.contains($0) }
    try readVariables()
  }

  private func use(of map: DeclaredMap) throws -> Use {
    if map.type == .ringbuf {
      guard let record = try recordType(of: map) else { return .rawRingBuffer }
      return .elements("RingBuffer", [record])
    }
    guard map.valueTypeID != 0 else { return .other }
    switch map.type {
    case .taskStorage:
      let value = try table.type(try pageValue(map.valueTypeID) ?? map.valueTypeID)
      return isPlain(value) ? .taskStorage(value) : .other
    case .array:
      if let value = try swiftTaskValue(of: map) { return .swiftTasks(try table.type(value)) }
      // The kernel does not map such a map for writing.
      let readOnly: BPFMapFlags = [.rdonly, .wronly, .rdonlyProg]
      let flags = try object.mapFlags(of: map.name)
      let isMapped = flags.contains(.mmapable) && flags.isDisjoint(with: readOnly)
      return try elements(isMapped ? "BPFMappedArray" : "BPFArrayMap", [map.valueTypeID])
    case .perCPUArray:
      return try elements("BPFPerCPUArrayMap", [map.valueTypeID])
    case .hash, .lruHash:
      return try elements("BPFHashMap", [map.keyTypeID, map.valueTypeID])
    case .perCPUHash, .lruPerCPUHash:
      return try elements("BPFPerCPUHashMap", [map.keyTypeID, map.valueTypeID])
    default:
      return .other
    }
  }

  private func elements(_ type: String, _ ids: [UInt32]) throws -> Use {
    guard ids.allSatisfy({ $0 != 0 }) else { return .other }
    let types = try ids.map { try table.type($0) }
    return types.allSatisfy(isPlain) ? .elements(type, types) : .other
  }

  /// The type of the records if the map was declared with RING_BUFFER: the element type of the
  /// array that encodes the map's type for libbpf.
  private func recordType(of map: DeclaredMap) throws -> CType? {
    guard let variable = try btf.variables(ofSection: ".maps").first(where: { $0.name == map.name })
    else { return nil }
    let definition = try btf.strippingQualifiers(variable.type)
    guard definition.name == "__ring_buffer_\(map.name)", definition.kind == .structure else {
      return nil
    }
    for index in 0..<definition.count {
      let member = try btf.member(index, of: definition.id)
      guard member.name == "type" else { continue }
      let pointer = try btf.strippingQualifiers(member.type)
      let array = try btf.strippingQualifiers(pointer.referencedType)
      guard pointer.kind == .ptr, array.kind == .array else { return nil }
      let record = try table.type(array.referencedType)
      return isPlain(record) ? record : nil
    }
    return nil
  }

  /// Whether the type can be compared without an enclosing structure. An address can only be a
  /// field.
  private func isPlain(_ type: CType) -> Bool {
    switch type {
    case .array(let element, _): isPlain(element)
    case .pointer, .kernelOwned, .integer(16, _): false
    case .floatingPoint(let size): size == 4 || size == 8
    default: true
    }
  }

  /// The value's type if a map of slots was declared with SWIFT_TASK_STORAGE.
  private func swiftTaskValue(of map: DeclaredMap) throws -> UInt32? {
    guard map.type == .array, map.valueTypeID != 0 else { return nil }
    let slot = try btf.strippingQualifiers(map.valueTypeID)
    guard slot.name == "__swift_task_slot_\(map.name)", slot.kind == .structure, slot.count > 0
    else { return nil }
    return try btf.member(slot.count - 1, of: slot.id).type
  }

  /// The value's type if the map was declared with TASK_STORAGE_USER_PAGE.
  private func pageValue(_ id: UInt32) throws -> UInt32? {
    guard let (_, pointer) = try onlyMember(of: id) else { return nil }
    let type = try btf.type(pointer)
    guard type.kind == .ptr, type.referencedType != 0 else { return nil }
    let tag = try btf.type(type.referencedType)
    guard tag.kind == .typeTag, tag.name == "uptr" else { return nil }
    let target = try btf.strippingQualifiers(tag.referencedType)
    if target.name.hasPrefix("__task_storage_page_"),
      let (name, value) = try onlyMember(of: target.id), name == "value"
    {
      return value
    }
    return tag.referencedType
  }

  private func onlyMember(of id: UInt32) throws -> (name: String, type: UInt32)? {
    let type = try btf.strippingQualifiers(id)
    guard type.kind == .structure, type.count == 1 else { return nil }
    let member = try btf.member(0, of: type.id)
    return (member.name, member.type)
  }

  private mutating func readVariables() throws {
    let sections = Set(object.declaredMaps.filter(\.isInternal).map(\.name))
    for id in 1..<max(1, btf.typeCount) {
      let section = try btf.type(id)
      guard section.kind == .dataSection, section.name.hasPrefix("."),
        section.name != ".kconfig", sections.contains(where: { $0.hasSuffix(section.name) })
      else { continue }
      let isMapped = try object.mapFlags(of: section.name).contains(.mmapable)
      for index in 0..<section.count {
        let variable = try btf.variable(index, of: id)
        // The name of a function's static variable contains a dot.
        guard !variable.name.hasPrefix("__"), !variable.name.contains(".") else { continue }
        let type = try table.type(variable.type, of: variable.name)
        guard try table.size(of: type) > 0 else { continue }
        variables.append(
          Variable(
            name: variable.name,
            section: section.name,
            offset: Int(variable.offset),
            type: type,
            declaration: try CDeclaration(btf).declaration(of: variable.name, type: variable.type),
            isMapped: isMapped
          )
        )
      }
    }
  }
}
