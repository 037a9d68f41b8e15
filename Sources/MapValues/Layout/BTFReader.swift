// SPDX-License-Identifier: Apache-2.0
package import LibBPF

/// Reads the descriptions of types from BTF.
///
/// The BTF may be damaged or hostile. libbpf 1.1 checks the section's header and the strings, but not
/// whether sizes fit or whether references form cycles.
package struct BTFReader {
  let btf: BTF
  let attempt: String
  let subject: String

  /// The number of types that may still be visited for one layout. Without a limit, a few empty
  /// structures that each contain the next one twice would take exponential time.
  private var budget = 1 << 16
  /// The enumerations that were read: many fields may be of the same one.
  private var enumerators: [UInt32: [Enumerator]] = [:]
  /// Limits the recursion, here and in all code that uses a description, for small stacks.
  private static let deepest = 256
  /// The types that enclose the current one.
  private var enclosing: Set<UInt32> = []

  package init(btf: BTF, attempt: String, subject: String) {
    self.btf = btf
    self.attempt = attempt
    self.subject = subject
  }

  /// Returns the layout of a map whose value type is `id` and whose values have `size` bytes. For a
  /// value in a user page, it is the layout of the page's contents.
  package mutating func valueLayout(ofType id: UInt32, size: Int) throws(BPFError) -> ValueLayout {
    let type = try fieldType(id)
    guard type.size == size else {
      throw malformed("type \(id) has \(type.size) bytes, the map's values have \(size)")
    }
    guard let page = try userPage(id) else {
      return ValueLayout(name: try name(of: id), type: type)
    }
    let pageType = try fieldType(page)
    return ValueLayout(name: try name(of: page), type: pageType, isInUserPage: true)
  }

  /// Returns the type of the value in a user page, or nil if the type `id` is not a structure with one
  /// `__uptr`.
  private mutating func userPage(_ id: UInt32) throws(BPFError) -> UInt32? {
    guard let (_, pointer) = try onlyMember(of: id) else { return nil }
    let type = try read(pointer)
    guard type.kind == .ptr, type.referencedType != 0 else { return nil }
    let tag = try read(type.referencedType)
    guard tag.kind == .typeTag, tag.name == "uptr" else { return nil }
    // mmap_storage.bpf.h puts a structure around the value.
    if try name(of: tag.referencedType).hasPrefix("__task_storage_page_"),
      let (name, value) = try onlyMember(of: tag.referencedType), name == "value"
    {
      return value
    }
    return tag.referencedType
  }

  private func onlyMember(
    of id: UInt32
  ) throws(BPFError) -> (name: String, type: UInt32)? {
    let type = try read(id)
    guard type.kind == .structure, type.count == 1,
      let member = try? btf.member(0, of: id)
    else { return nil }
    return (member.name, member.type)
  }

  package mutating func fieldType(_ id: UInt32, depth: Int = 0) throws(BPFError) -> FieldType {
    guard depth < Self.deepest else {
      throw malformed("type \(id) is nested more than \(Self.deepest) levels deep")
    }
    guard enclosing.insert(id).inserted else { throw malformed("type \(id) contains itself") }
    defer { enclosing.remove(id) }
    var id = id
    var alias = ""
    while true {
      budget -= 1
      guard budget > 0 else {
        throw malformed("the type has too many parts, or a reference to itself at type \(id)")
      }
      let type = try read(id)
      switch type.kind {
      case .typedef:
        if alias.isEmpty { alias = type.name }
        id = type.referencedType
      case .volatile, .const, .restrict, .typeTag:
        id = type.referencedType
      case .int:
        return integer(type)
      case .float:
        return floatingPoint(type)
      case .enumeration, .enum64:
        return try enumeration(id, type, named: type.name.isEmpty ? alias : type.name)
      case .array:
        return try array(id, type, depth: depth)
      case .structure, .union:
        return try composite(
          id,
          type,
          named: type.name.isEmpty ? alias : type.name,
          depth: depth
        )
      case .ptr:
        return try pointer(type)
      case .fwd:
        throw malformed("'\(type.name)' is declared but never defined")
      case .dataSection:
        throw BPFError(
          .wrongType,
          attempt: attempt,
          on: subject,
          advice: "it is a section of global variables, not a map of values"
        )
      default:
        throw malformed("type \(id) is of a kind that has no size")
      }
    }
  }

  private func integer(_ type: BTF.TypeInfo) -> FieldType {
    let name = type.name
    let size = Int(type.size)
    if type.isPartialInteger {
      return .unsupported(name: "bit-field", size: size, advice: bitFieldAdvice)
    }
    if type.isBool, size == 1 { return .boolean }
    if name == "char", size == 1 { return .character }
    guard [1, 2, 4, 8].contains(size), !type.isBool else {
      return .unsupported(
        name: name,
        size: size,
        advice: "use two __u64, or an array of __u64, instead"
      )
    }
    return .integer(size: size, signed: type.isSigned)
  }

  private func floatingPoint(_ type: BTF.TypeInfo) -> FieldType {
    let size = Int(type.size)
    guard [2, 4, 8].contains(size) else {
      return .unsupported(
        name: type.name,
        size: size,
        advice: "use double instead"
      )
    }
    return .floatingPoint(size: size)
  }

  private mutating func enumeration(
    _ id: UInt32,
    _ type: BTF.TypeInfo,
    named name: String
  ) throws(BPFError) -> FieldType {
    let size = Int(type.size)
    guard [1, 2, 4, 8].contains(size) else {
      throw malformed("enumeration \(id) has \(size) bytes")
    }
    if enumerators[id] == nil {
      enumerators[id] = try (0..<type.count).map { (index) throws(BPFError) in
        let (name, bits) = try btf.enumerationValue(UInt32(index), of: id)
        return Enumerator(name: name, bits: bits)
      }
    }
    return .enumeration(
      name: name,
      size: size,
      signed: type.kindFlag,
      enumerators: enumerators[id] ?? []
    )
  }

  private mutating func array(
    _ id: UInt32,
    _ type: BTF.TypeInfo,
    depth: Int
  ) throws(BPFError) -> FieldType {
    let element = try fieldType(type.referencedType, depth: depth + 1)
    let (bytes, overflow) = element.size.multipliedReportingOverflow(by: Int(type.count))
    guard !overflow, bytes <= UInt32.max else {
      throw malformed("array \(id) is larger than any value")
    }
    return .array(of: element, count: Int(type.count))
  }

  private mutating func composite(
    _ id: UInt32,
    _ type: BTF.TypeInfo,
    named name: String,
    depth: Int
  ) throws(BPFError) -> FieldType {
    let size = Int(type.size)
    if let advice = kernelOwnedStructures[type.name] {
      return .unsupported(name: "struct \(type.name)", size: size, advice: advice)
    }
    let isUnion = type.kind == .union
    var members: [CompositeLayout.Member] = []
    members.reserveCapacity(Int(type.count))
    for index in 0..<type.count {
      let from = try btf.member(index, of: id)
      let member =
        if from.bitSize != 0 {
          bitField(from)
        } else {
          CompositeLayout.Member(
            name: from.name,
            offset: Int(from.bitOffset / 8),
            type: try fieldType(from.type, depth: depth + 1)
          )
        }
      guard from.bitSize != 0 || from.bitOffset % 8 == 0,
        member.offset + member.type.size <= size
      else { throw malformed("member '\(from.name)' does not fit into '\(name)' (type \(id))") }
      guard !isUnion || from.bitOffset == 0 else {
        throw malformed(
          "alternative '\(from.name)' of union '\(name)' (type \(id)) is not at offset 0"
        )
      }
      members.append(member)
    }
    let layout = CompositeLayout(name: name, size: size, members: members)
    return isUnion ? .union(layout) : .structure(layout)
  }

  private func bitField(_ from: BTF.Member) -> CompositeLayout.Member {
    CompositeLayout.Member(
      name: from.name,
      offset: Int(from.bitOffset / 8),
      type: .bitField(bit: Int(from.bitOffset % 8), width: Int(from.bitSize))
    )
  }

  private mutating func pointer(_ type: BTF.TypeInfo) throws(BPFError) -> FieldType {
    var name = "pointer"
    var advice = "an address has no meaning on the other side; store a number or an index instead"
    if type.referencedType != 0 {
      let target = try read(type.referencedType)
      if target.kind == .typeTag {
        name = "\(target.name) pointer"
        if let known = taggedPointers[target.name] { advice = known }
      }
    }
    return .unsupported(name: name, size: Int(type.size), advice: advice)
  }

  /// Returns the name of a type: the outermost typedef's, or the tag.
  private mutating func name(of id: UInt32) throws(BPFError) -> String {
    var type = try read(id)
    while type.name.isEmpty || type.kind == .typeTag {
      budget -= 1
      guard budget > 0 else { throw malformed("type \(id) refers to itself") }
      switch type.kind {
      case .volatile, .const, .restrict, .typeTag, .array:
        type = try read(type.referencedType)
      default:
        return ""
      }
    }
    return type.name
  }

  private func read(_ id: UInt32) throws(BPFError) -> BTF.TypeInfo {
    try btf.type(id)
  }

  func malformed(_ reason: String) -> BPFError {
    BPFError(
      .invalidObject,
      attempt: attempt,
      on: subject,
      advice: "the type information is damaged: \(reason); compile the program again"
    )
  }
}

private let bitFieldAdvice = "use a whole integer, and masks to set and test its bits"

/// Structures that hold the kernel's own state, with advice.
private let kernelOwnedStructures: [String: String] = [
  "bpf_spin_lock": "only BPF programs can take it; use a sequence counter or atomic operations",
  "bpf_res_spin_lock": "only BPF programs can take it; use a sequence counter or atomic operations",
  "bpf_timer": "only BPF programs can use it; keep it in another map",
  "bpf_wq": "only BPF programs can use it; keep it in another map",
  "bpf_task_work": "only BPF programs can use it; keep it in another map",
  "bpf_list_head": "only BPF programs can use it; keep it in another map",
  "bpf_list_node": "only BPF programs can use it; keep it in another map",
  "bpf_rb_root": "only BPF programs can use it; keep it in another map",
  "bpf_rb_node": "only BPF programs can use it; keep it in another map",
  "bpf_refcount": "only BPF programs can use it; keep it in another map",
  "bpf_dynptr": "only BPF programs can use it; keep it in another map",
]

/// Kinds of pointers, by type tag, with advice.
private let taggedPointers: [String: String] = {
  let kernel = "it points into the kernel; keep it in another map"
  return [
    "kptr": kernel, "kptr_ref": kernel, "kptr_untrusted": kernel, "percpu_kptr": kernel,
    "uptr": "it points to a page of the thread; use the user-page backend, with the type it points "
      + "to as the value",
  ]
}()
