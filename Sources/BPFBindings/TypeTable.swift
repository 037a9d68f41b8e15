// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// The C types that the maps and global variables of an object use.
final class TypeTable {
  let btf: BTF
  private(set) var composites: [UInt32: CComposite] = [:]
  private(set) var enumerations: [UInt32: CEnumeration] = [:]
  /// Typedefs in the order in which they were found, with the type that they name.
  private(set) var typedefs: [(name: String, type: CType)] = []
  private var knownTypedefs: Set<String> = []
  /// The composites that enclose the current one.
  private var enclosing: Set<UInt32> = []

  init(btf: BTF) { self.btf = btf }

  /// Resolves the type of a variable or member, and everything in it.
  func type(_ id: UInt32, of name: String, in enclosing: String = "") throws -> CType {
    do {
      return try type(id)
    } catch let error as BindingError where error.cName.isEmpty && !name.isEmpty {
      throw BindingError("'\(name)': \(error)", near: name, in: enclosing)
    }
  }

  /// Resolves a type, and everything in it.
  func type(_ id: UInt32) throws -> CType {
    var id = id
    var alias = ""
    var passed: [String] = []
    for _ in 0...btf.typeCount {
      let info = try btf.type(id)
      switch info.kind {
      case .typedef:
        alias = info.name
        passed.append(info.name)
        id = info.referencedType
      case .const, .volatile, .restrict, .typeTag:
        id = info.referencedType
      default:
        let type = try resolve(info, alias: alias)
        for name in passed where knownTypedefs.insert(name).inserted {
          typedefs.append((name, type))
        }
        return type
      }
    }
    throw BindingError("type \(id) refers to itself", near: alias)
  }

  func composite(_ id: UInt32) throws -> CComposite {
    guard let composite = composites[id] else {
      throw BindingError("type \(id) was not read")
    }
    return composite
  }

  func enumeration(_ id: UInt32) throws -> CEnumeration {
    guard let enumeration = enumerations[id] else {
      throw BindingError("type \(id) was not read")
    }
    return enumeration
  }

  /// The size of a type in bytes.
  func size(of type: CType) throws -> Int {
    switch type {
    case .integer(let size, _), .floatingPoint(let size), .kernelOwned(_, let size): size
    case .character, .boolean: 1
    case .pointer: 8
    case .enumeration(let id): try enumeration(id).size
    case .composite(let id): try composite(id).size
    case .array(let element, let count): try size(of: element) * count
    }
  }

  private func resolve(_ info: BTF.TypeInfo, alias: String) throws -> CType {
    let size = Int(info.size)
    switch info.kind {
    case .int:
      if info.isBool { return .boolean }
      if info.name == "char", size == 1 { return .character }
      guard [1, 2, 4, 8, 16].contains(size) else {
        throw BindingError("an integer of \(size) bytes has no Swift type", near: alias)
      }
      return .integer(size: size, signed: info.isSigned)
    case .float:
      return .floatingPoint(size: size)
    case .enumeration, .enum64:
      try read(enumeration: info, alias: alias)
      return .enumeration(info.id)
    case .array:
      return .array(try type(info.referencedType), count: Int(info.count))
    case .structure, .union:
      if kernelOwnedStructures.contains(info.name) {
        return .kernelOwned(name: info.name, size: size)
      }
      try read(composite: info, alias: alias)
      return .composite(info.id)
    case .ptr:
      let target = info.referencedType == 0 ? nil : try btf.type(info.referencedType)
      return .pointer(tag: target?.kind == .typeTag ? target?.name ?? "" : "")
    case .fwd:
      throw BindingError(
        "'\(info.name)' is declared but never defined; include the header that defines it",
        near: info.name
      )
    default:
      throw BindingError(
        "the type has no Swift type; use numbers, structures, arrays or pointers",
        near: alias
      )
    }
  }

  private func read(enumeration info: BTF.TypeInfo, alias: String) throws {
    guard enumerations[info.id] == nil else { return }
    enumerations[info.id] = CEnumeration(
      id: info.id,
      name: info.name.isEmpty ? alias : info.name,
      size: Int(info.size),
      isSigned: info.kindFlag,
      values: try (0..<info.count).map { index in
        let value = try btf.enumerationValue(index, of: info.id)
        return (value.name, value.bits)
      }
    )
  }

  private func read(composite info: BTF.TypeInfo, alias: String) throws {
    guard composites[info.id] == nil else { return }
    guard enclosing.insert(info.id).inserted, enclosing.count < 128 else {
      throw BindingError("it contains itself, or is nested too deeply", near: info.name)
    }
    defer { enclosing.remove(info.id) }
    var members: [CMember] = []
    for index in 0..<info.count {
      let member = try btf.member(index, of: info.id)
      members.append(
        CMember(
          name: member.name,
          type: try type(member.type, of: member.name, in: info.name),
          bitOffset: Int(member.bitOffset),
          bitSize: Int(member.bitSize),
          declaration: try CDeclaration(btf).member(member)
        )
      )
    }
    composites[info.id] = CComposite(
      id: info.id,
      name: info.name.isEmpty ? alias : info.name,
      isTag: !info.name.isEmpty,
      isUnion: info.kind == .union,
      size: Int(info.size),
      members: members
    )
  }
}
