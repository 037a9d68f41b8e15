// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// Writes Swift types for the C types of one object.
final class TypeWriter {
  let table: TypeTable
  /// "public " or empty.
  let access: String
  /// The largest value that is passed by value, in bytes.
  static let largestValue = 64 << 10
  private static let tooLarge =
    "which is too large for a value on the stack (at most \(largestValue))"

  private var names: [UInt32: String] = [:]
  /// The C names and the types' ids, by the Swift name, which includes the name of the enclosing
  /// type.
  private var origins: [String: (text: String, id: UInt32?)] = [:]
  /// The composites whose members are named, by whether these are the types at the top level.
  private var passed: [Bool: Set<UInt32>] = [:]
  private var plans: [UInt32: StructurePlan] = [:]
  /// The types that are nested in a type, by its name; those at the top level have the key "".
  private var nested: [String: [UInt32]] = [:]
  /// The last parts of all names of types.
  private(set) var declaredNames: Set<String> = []
  private let objectName: String
  /// The type aliases, with the C names.
  private var aliases: [(name: String, cName: String, type: CType)] = []

  init(table: TypeTable, objectName: String, isPublic: Bool) {
    self.table = table
    self.objectName = objectName
    access = isPublic ? "public " : ""
    declaredNames = [objectName]
  }

  /// A type of the standard library, qualified if the object has a type of this name; or a type of MmapStorage,
  /// which is always qualified, because the user's module may have a type of this name.
  func library(_ name: String, module: String = "Swift") -> String {
    module != "Swift" || declaredNames.contains(name) ? "\(module).\(name)" : name
  }

  /// Checks the size of the type of a map's elements, or of a global variable.
  ///
  /// - Parameters:
  ///   - type: The type.
  ///   - owner: Such as "global variable".
  ///   - cName: The map or variable.
  /// - Throws: ``BindingError`` if values are too large for the stack.
  func checkSize(of type: CType, of owner: String, _ cName: String) throws {
    // An error in a structure is reported for the structure.
    if case .composite = type { return }
    let size = try table.size(of: type)
    guard size > Self.largestValue else { return }
    throw BindingError(
      "\(owner) '\(cName)' has \(size) bytes, \(Self.tooLarge); make it smaller, or begin its name "
        + "with '__', which leaves it out of Swift",
      near: cName
    )
  }

  // MARK: Names

  /// Assigns names to types and their nested types. All types are named before the first is written.
  ///
  /// - Parameter owners: The types, with their map or variable, which names an anonymous type.
  /// - Throws: ``BindingError`` for a name that is invalid in Swift, or that two types would have.
  func name(_ owners: [(type: CType, name: String)]) throws {
    // A nested type must not hide a type at the top level, so those are named first.
    for owner in owners { try name(owner.type, member: owner.name, in: "", atTop: true) }
    for owner in owners { try name(owner.type, member: owner.name, in: "", atTop: false) }
  }

  /// Assigns names to a type and its nested types: in one pass to types at the top level, in the
  /// other to the rest.
  private func name(_ type: CType, member: String, in outer: String, atTop: Bool) throws {
    switch type {
    case .array(let element, _):
      try name(element, member: member, in: outer, atTop: atTop)
    case .enumeration(let id):
      let enumeration = try table.enumeration(id)
      guard names[id] == nil, atTop == (!enumeration.name.isEmpty || outer.isEmpty) else { return }
      try assign(id, cName: enumeration.name, words: "enum", member: member, in: outer)
    case .composite(let id):
      guard passed[atTop, default: []].insert(id).inserted else { return }
      let composite = try table.composite(id)
      if names[id] == nil, atTop == (!composite.name.isEmpty || outer.isEmpty) {
        try assign(
          id,
          cName: composite.name,
          words: composite.isTag ? (composite.isUnion ? "union" : "struct") : "typedef",
          member: member,
          in: outer
        )
      }
      // In the first pass, a nested type has no name yet.
      try nameMembers(of: composite, in: names[id] ?? outer + ".", atTop: atTop)
    default:
      break
    }
  }

  private func nameMembers(of composite: CComposite, in path: String, atTop: Bool) throws {
    for member in composite.members {
      if member.name.isEmpty, case .composite(let id) = member.type {
        try nameMembers(of: try table.composite(id), in: path, atTop: atTop)
      } else {
        try name(member.type, member: member.name, in: path, atTop: atTop)
      }
    }
  }

  private func assign(
    _ id: UInt32,
    cName: String,
    words: String,
    member: String,
    in outer: String
  ) throws {
    let isAnonymous = cName.isEmpty
    let origin = isAnonymous ? "the anonymous type of '\(member)'" : "\(words) \(cName)"
    guard var name = SwiftNames.type(isAnonymous ? member : cName) else {
      throw BindingError(
        "\(origin) has no valid Swift name; rename it with letters and digits",
        near: isAnonymous ? member : cName
      )
    }
    // Inside of the object's type, the same name refers to the nested type.
    if name == objectName { name += "Value" }
    let isNested = isAnonymous && !outer.isEmpty
    if isNested {
      // Inside of the enclosing types, the name of another type refers to the nested type.
      let enclosing = outer.split(separator: ".").map(String.init)
      while enclosing.contains(name) || origins[name] != nil { name += "_" }
    }
    let path = isNested ? "\(outer).\(name)" : name
    if let other = origins.updateValue((origin, id), forKey: path), other.id != id {
      throw BindingError(
        other.text == origin
          ? "two types would both be '\(path)' in Swift, each \(origin); give one of them a name"
          : "\(origin) and \(other.text) would both be '\(path)' in Swift; rename one of them",
        near: isAnonymous ? member : cName
      )
    }
    names[id] = path
    declaredNames.insert(name)
    nested[isAnonymous ? outer : "", default: []].append(id)
  }

  /// Assigns names to the typedefs, after all types are named.
  ///
  /// A typedef has a type alias, unless it is only another spelling of a number's name, or the Swift
  /// type has this name already.
  ///
  /// - Throws: ``BindingError`` for a name that another type has.
  func nameTypedefs() throws {
    for (cName, type) in table.typedefs where !SwiftNames.isNumber(cName) {
      guard var name = SwiftNames.type(cName) else { continue }
      if name == objectName { name += "Value" }
      switch type {
      case .composite(let id) where names[id] == name, .enumeration(let id) where names[id] == name:
        continue
      case .kernelOwned:
        continue
      default:
        // A map without an interface for its types has no aliases.
        guard isNamed(type) else { continue }
      }
      if aliases.contains(where: { $0.name == name && $0.type == type }) { continue }
      let origin = "typedef \(cName)"
      if let other = origins.updateValue((origin, nil), forKey: name) {
        throw BindingError(
          "\(origin) and \(other.text) would both be '\(name)' in Swift; rename one of them",
          near: cName
        )
      }
      declaredNames.insert(name)
      aliases.append((name, cName, type))
    }
  }

  private func isNamed(_ type: CType) -> Bool {
    switch type {
    case .array(let element, _): isNamed(element)
    case .composite(let id), .enumeration(let id): names[id] != nil
    default: true
    }
  }

  private func aliasDeclarations() throws -> [String] {
    try aliases.compactMap { name, cName, type in
      let target = try swiftType(type)
      guard !target.isHidden, target.size > 0 else { return nil }
      return "  /// C's type `\(cName)`.\n  \(access)typealias \(name) = \(target.text)\n"
    }
  }

  // MARK: Types

  func swiftType(_ type: CType) throws -> SwiftType {
    switch type {
    case .integer(16, _):
      // The low half is first. Swift's own type cannot be accessed with one load or store either.
      let word = library("UInt64")
      return SwiftType(
        text: "\(library("InlineArray"))<2, \(word)>",
        size: 16,
        alignment: 8,
        zero: "\(library("InlineArray"))(repeating: 0)",
        layout: ".opaque(16)"
      )
    case .integer(let size, let signed):
      return SwiftType(
        text: library((signed ? "Int" : "UInt") + "\(size * 8)"),
        size: size,
        alignment: size,
        zero: "0",
        layout: signed ? ".signed(\(size))" : ".unsigned(\(size))",
        isSigned: signed
      )
    case .character:
      return SwiftType(
        text: library("CChar"),
        size: 1,
        alignment: 1,
        zero: "0",
        layout: ".character",
        isSigned: true
      )
    case .boolean:
      return SwiftType(
        text: library("Bool"),
        size: 1,
        alignment: 1,
        zero: "false",
        layout: ".boolean"
      )
    case .floatingPoint(let size) where size == 4 || size == 8:
      return SwiftType(
        text: library(size == 4 ? "Float" : "Double"),
        size: size,
        alignment: size,
        zero: "0",
        layout: ".floatingPoint(\(size))"
      )
    case .floatingPoint(let size):
      return bytes(size, layout: ".opaque(\(size))")
    case .enumeration(let id):
      let enumeration = try table.enumeration(id)
      return SwiftType(
        text: names[id] ?? "",
        size: enumeration.size,
        alignment: enumeration.size,
        zero: "\(names[id] ?? "")(rawValue: 0)",
        layout:
          ".enumeration(\"\(enumeration.name)\", size: \(enumeration.size), "
          + "signed: \(enumeration.isSigned))",
        isSigned: enumeration.isSigned
      )
    case .array(let element, let count):
      let element = try swiftType(element)
      return SwiftType(
        text: "\(library("InlineArray"))<\(count), \(element.text)>",
        size: element.size * count,
        alignment: element.alignment,
        zero: "\(library("InlineArray"))(repeating: \(element.zero))",
        layout: ".array(of: \(element.layout), count: \(count))",
        isHidden: element.isHidden
      )
    case .composite(let id):
      let composite = try table.composite(id)
      return SwiftType(
        text: names[id] ?? "",
        size: composite.size,
        alignment: try plan(of: id).alignment,
        zero: "\(names[id] ?? "")()",
        layout: "\(names[id] ?? "").layout"
      )
    case .pointer(let tag) where kernelOwnedTags.contains(tag):
      var hidden = bytes(8, layout: ".kernelOwned(\"\(tag) pointer\", 8)")
      hidden.isHidden = true
      hidden.alignment = 8
      return hidden
    case .pointer:
      return SwiftType(
        text: library("UInt64"),
        size: 8,
        alignment: 8,
        zero: "0",
        layout: ".opaque(8)"
      )
    case .kernelOwned(let name, let size):
      var hidden = bytes(size, layout: ".kernelOwned(\"struct \(name)\", \(size))")
      hidden.isHidden = true
      hidden.alignment = size % 8 == 0 ? 8 : 4
      return hidden
    }
  }

  private func bytes(_ count: Int, layout: String) -> SwiftType {
    SwiftType(
      text: "\(library("InlineArray"))<\(count), \(library("UInt8"))>",
      size: count,
      alignment: 1,
      zero: "\(library("InlineArray"))(repeating: 0)",
      layout: layout
    )
  }

  // MARK: Plans

  private func plan(of id: UInt32) throws -> StructurePlan {
    if let plan = plans[id] { return plan }
    let composite = try table.composite(id)
    var leaves: [StructurePlan.Leaf] = []
    try collectLeaves(of: composite, at: 0, into: &leaves)
    var plan = StructurePlan(leaves: leaves, size: composite.size)
    var origins: [String: String] = [:]
    for index in plan.leaves.indices {
      let leaf = plan.leaves[index]
      guard let name = SwiftNames.field(leaf.cName) else {
        throw BindingError(
          "field '\(leaf.cName)' has no valid Swift name; rename it with letters and digits",
          near: leaf.cName,
          in: composite.name
        )
      }
      if let other = origins.updateValue(leaf.cName, forKey: name) {
        throw BindingError(
          "fields '\(other)' and '\(leaf.cName)' would both be '\(name)' in Swift; rename one of "
            + "them",
          near: leaf.cName,
          in: composite.name
        )
      }
      plan.leaves[index].name = name
    }
    plans[id] = plan
    return plan
  }

  private func collectLeaves(
    of composite: CComposite,
    at bitOffset: Int,
    isAlternative: Bool = false,
    into leaves: inout [StructurePlan.Leaf]
  ) throws {
    let isAlternative = isAlternative || composite.isUnion
    for member in composite.members {
      let start = bitOffset + member.bitOffset
      if member.name.isEmpty, case .composite(let id) = member.type {
        try collectLeaves(
          of: try table.composite(id),
          at: start,
          isAlternative: isAlternative,
          into: &leaves
        )
        continue
      }
      let type = try swiftType(member.type)
      guard type.size > 0 else { continue }
      if member.bitSize != 0, type.size > 8 {
        throw BindingError(
          "bit-field '\(member.name)' has a type of \(type.size) bytes, and Swift has only bit-fields of "
            + "up to 8; declare it with a smaller type, or without a width",
          near: member.name,
          in: composite.name
        )
      }
      leaves.append(
        StructurePlan.Leaf(
          cName: member.name,
          bitOffset: start,
          bitSize: member.bitSize,
          type: member.type,
          swiftType: type,
          declaration: member.declaration,
          isAlternative: isAlternative
        )
      )
    }
  }

  // MARK: Text

  /// The declarations of all types that were named.
  func declarations() throws -> String {
    try ([try declarations(in: "", indent: "  ")] + aliasDeclarations())
      .filter { !$0.isEmpty }.joined(separator: "\n")
  }

  private func declarations(in outer: String, indent: String) throws -> String {
    try (nested[outer] ?? []).map { id in
      if table.enumerations[id] != nil {
        try enumeration(id, indent: indent)
      } else {
        try composite(id, indent: indent)
      }
    }.joined(separator: "\n")
  }

  private func enumeration(_ id: UInt32, indent: String) throws -> String {
    let enumeration = try table.enumeration(id)
    let type = try swiftType(.enumeration(id))
    let name = lastPart(type.text)
    let raw = library((enumeration.isSigned ? "Int" : "UInt") + "\(enumeration.size * 8)")
    let protocols = [
      library("RawRepresentable"), library("MapScalar", module: "MmapStorage"), library("Hashable"),
      library("CustomStringConvertible"),
    ]
    var lines = [
      "/// C's `enum\(enumeration.name.isEmpty ? "" : " " + enumeration.name)`. A program may store "
        + "other numbers as well.",
      "\(access)struct \(name): \(protocols.joined(separator: ", ")) {",
      "  \(access)var rawValue: \(raw)",
      "",
      "  \(access)init(rawValue: \(raw)) { self.rawValue = rawValue }",
    ]
    let names = try enumerationNames(enumeration)
    if !names.isEmpty { lines.append("") }
    var cases: [String] = []
    var named: Set<UInt64> = []
    for (value, name) in zip(enumeration.values, names) {
      let number =
        enumeration.isSigned ? "\(Int64(bitPattern: value.bits))" : "\(value.bits)"
      lines.append("  /// `\(value.name)`")
      lines.append("  \(access)static let \(name) = Self(rawValue: \(number))")
      guard named.insert(value.bits).inserted else { continue }
      cases.append("    case \(number): \"\(name.filter { $0 != "`" })\"")
    }
    lines += [
      "", "  /// The name of the first constant with this number.",
      "  \(access)var description: \(library("String")) {", "    switch rawValue {",
    ]
    lines += cases + ["    default: \"\(name)(rawValue: \\(rawValue))\"", "    }", "  }", "}"]
    return lines.map { $0.isEmpty ? "" : indent + $0 }.joined(separator: "\n") + "\n"
  }

  /// The names of an enumeration's values, without the common prefix of words.
  private func enumerationNames(_ enumeration: CEnumeration) throws -> [String] {
    let values = enumeration.values.map(\.name)
    var prefix = values.count > 1 ? commonPrefix(of: values) : ""
    // Each name keeps a word that begins with a letter.
    while !prefix.isEmpty,
      values.contains(where: { $0.dropFirst(prefix.count).first?.isLetter != true })
    {
      prefix.removeLast()
      prefix = String(
        prefix[..<(prefix.lastIndex(of: "_").map { prefix.index(after: $0) } ?? prefix.startIndex)]
      )
    }
    var origins: [String: String] = [:]
    return try values.map { value in
      guard let name = SwiftNames.enumerator(String(value.dropFirst(prefix.count))) else {
        throw BindingError("value '\(value)' has no valid Swift name", near: value)
      }
      if let other = origins.updateValue(value, forKey: name) {
        throw BindingError(
          "values '\(other)' and '\(value)' would both be '\(name)' in Swift; rename one of them",
          near: value
        )
      }
      return name
    }
  }

  private func commonPrefix(of names: [String]) -> String {
    guard var prefix = names.first else { return "" }
    for name in names { prefix = String(zip(prefix, name).prefix { $0 == $1 }.map(\.0)) }
    return String(
      prefix[..<(prefix.lastIndex(of: "_").map { prefix.index(after: $0) } ?? prefix.startIndex)]
    )
  }

  private func composite(_ id: UInt32, indent: String) throws -> String {
    let composite = try table.composite(id)
    let plan = try plan(of: id)
    let path = names[id] ?? ""
    guard composite.size <= Self.largestValue else {
      throw BindingError(
        "'\(composite.name)' has \(composite.size) bytes, \(Self.tooLarge); make it smaller, or begin "
          + "the names of its maps and global variables with '__', which leaves them out of Swift",
        near: composite.name
      )
    }
    let computed = plan.leaves.filter { !$0.isStored && !$0.swiftType.isHidden }
    let mapValue =
      computed.isEmpty
      ? library("MapValue", module: "MmapStorage")
      : library("PlacedMapValue", module: "MmapStorage")
    var lines = documentation(of: composite)
    lines.append(
      "\(access)struct \(lastPart(path)): \(mapValue), \(library("BitwiseCopyable")) {"
    )
    for piece in plan.pieces {
      switch piece {
      case .leaf(let index):
        let leaf = plan.leaves[index]
        lines.append("  /// `\(leaf.declaration)`, at byte \(leaf.offset).")
        lines.append("  \(access)var \(leaf.name): \(leaf.swiftType.text)")
      case .words(let offset, let width, let count, let isPadding):
        let word = library("UInt\(width * 8)")
        lines.append(
          "  private var _\(isPadding ? "padding" : "bytes")\(offset): "
            + "\(library("InlineArray"))<\(count), \(word)> = "
            + "\(library("InlineArray"))(repeating: 0)"
        )
      }
    }
    for leaf in computed {
      lines.append("  /// `\(leaf.declaration)`, at \(place(of: leaf)).")
      lines.append("  \(access)var \(leaf.name): \(leaf.swiftType.text) {")
      lines.append("    get { Self.places.\(leaf.name).load(from: self) }")
      lines.append("    set { Self.places.\(leaf.name).store(newValue, to: &self) }")
      lines.append("  }")
    }
    lines.append("")
    lines += initializers(plan)
    if !computed.isEmpty {
      let inlinable = access.isEmpty ? "" : "@inlinable "
      lines.append("")
      lines.append("  /// The places of the computed properties, for views.")
      lines.append("  \(access)struct Places {")
      if !access.isEmpty { lines.append("    @inlinable init() {}") }
      for leaf in computed {
        let (type, value) = placeExpression(leaf)
        lines.append("    \(inlinable)\(access)var \(leaf.name): \(type) { \(value) }")
      }
      lines.append("  }")
      lines.append("")
      lines.append("  \(inlinable)\(access)static var places: Places { Places() }")
    }
    lines.append("")
    lines.append("  fileprivate static let layout = \(try layout(of: composite, top: true))")
    lines.append("")
    lines.append(
      "  \(access)static var fields: \(library("Fields", module: "MmapStorage"))<Self> { "
        + ".generated(Self.layout) }"
    )
    let inner = try declarations(in: path, indent: "  ")
    if !inner.isEmpty {
      lines.append("")
      lines += inner.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
        .map(String.init)
    }
    lines.append("}")
    return lines.map { $0.isEmpty ? "" : indent + $0 }.joined(separator: "\n") + "\n"
  }

  private func place(of leaf: StructurePlan.Leaf) -> String {
    leaf.bitSize == 0
      ? "byte \(leaf.offset)" : "byte \(leaf.offset), bit \(leaf.bitOffset % 8)"
  }

  private func placeExpression(_ leaf: StructurePlan.Leaf) -> (type: String, value: String) {
    let type: String
    let value: String
    if leaf.bitSize != 0 {
      type = "\(library("BitField", module: "MmapStorage"))<\(leaf.swiftType.text)>"
      value =
        "\(library("BitField", module: "MmapStorage"))(bit: \(leaf.bitOffset), "
        + "width: \(leaf.bitSize), signed: \(leaf.swiftType.isSigned))"
    } else {
      let name = library(leaf.isAligned ? "Place" : "UnalignedPlace", module: "MmapStorage")
      type = "\(name)<\(leaf.swiftType.text)>"
      value = "\(name)(\(leaf.offset))"
    }
    return (type, value)
  }

  private func initializers(_ plan: StructurePlan) -> [String] {
    let visible = plan.leaves.filter { !$0.swiftType.isHidden }
    let own = visible.filter { !$0.isShared }
    var lines: [String] = []
    func write(_ leaves: [StructurePlan.Leaf], defaults: Bool) {
      lines.append(
        leaves.isEmpty
          ? "  /// Creates a value of zeroes."
          : "  /// Creates a value with these fields; all others are zero."
      )
      let parameters = leaves.map {
        "\($0.name): \($0.swiftType.text)" + (defaults ? " = \($0.swiftType.zero)" : "")
      }
      lines.append("  \(access)init(\(parameters.joined(separator: ", "))) {")
      for leaf in plan.leaves
      where leaf.isStored && !leaves.contains(where: { $0.name == leaf.name }) {
        lines.append("    self.\(leaf.name) = \(leaf.swiftType.zero)")
      }
      for leaf in leaves where leaf.isStored {
        lines.append("    self.\(leaf.name) = \(leaf.name)")
      }
      for leaf in leaves where !leaf.isStored {
        lines.append("    self.\(leaf.name) = \(leaf.name)")
      }
      lines.append("  }")
    }
    write(own, defaults: true)
    if own.isEmpty {
      for leaf in visible { write([leaf], defaults: false) }
    }
    return lines
  }

  /// The layout as an expression.
  private func layout(of composite: CComposite, top: Bool) throws -> String {
    let members = try composite.members.map { member -> String in
      if member.bitSize != 0 {
        return
          ".init(\"\(member.name)\", at: \(member.offset), "
          + ".bitField(bit: \(member.bitOffset % 8), width: \(member.bitSize)))"
      }
      var type = try swiftType(member.type).layout
      if member.name.isEmpty, case .composite(let id) = member.type {
        type = try layout(of: try table.composite(id), top: false)
      }
      return ".init(\"\(member.name)\", at: \(member.offset), \(type))"
    }
    let prefix = top ? library("FieldLayout", module: "MmapStorage") : ""
    return
      "\(prefix).\(composite.isUnion ? "union" : "structure")(\"\(composite.name)\", "
      + "size: \(composite.size), [\(members.joined(separator: ", "))])"
  }

  /// The C declaration with offsets.
  private func documentation(of composite: CComposite) -> [String] {
    let keyword = composite.isUnion ? "union" : "struct"
    let name = composite.name.isEmpty || !composite.isTag ? keyword : "\(keyword) \(composite.name)"
    var lines = ["/// ```c", "/// \(name) {  /* \(composite.size) bytes */"]
    appendMembers(of: composite, at: 0, indent: "    ", to: &lines)
    lines.append(composite.isTag || composite.name.isEmpty ? "/// };" : "/// } \(composite.name);")
    lines.append("/// ```")
    return lines
  }

  private func appendMembers(
    of composite: CComposite,
    at base: Int,
    indent: String,
    to lines: inout [String]
  ) {
    for member in composite.members {
      let offset = base + member.bitOffset
      if member.name.isEmpty, case .composite(let id) = member.type,
        let inner = table.composites[id]
      {
        lines.append("/// \(indent)\(inner.isUnion ? "union" : "struct") {")
        appendMembers(of: inner, at: offset, indent: indent + "    ", to: &lines)
        lines.append("/// \(indent)};")
      } else {
        let bit = member.bitSize == 0 ? "" : ", bit \(offset % 8)"
        lines.append("/// \(indent)\(member.declaration);  /* byte \(offset / 8)\(bit) */")
      }
    }
  }

  private func lastPart(_ path: String) -> String {
    path.lastIndex(of: ".").map { String(path[path.index(after: $0)...]) } ?? path
  }

  /// The names of enumerations and structures, by their C names.
  func typeName(_ type: CType) throws -> String { try swiftType(type).text }
}
