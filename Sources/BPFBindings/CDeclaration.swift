// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// Writes types as C declares them, for comments.
struct CDeclaration {
  private let btf: BTF

  init(_ btf: BTF) { self.btf = btf }

  func member(_ member: BTF.Member) throws -> String {
    let width = member.bitSize == 0 ? "" : " : \(member.bitSize)"
    return try declaration(of: member.name, type: member.type) + width
  }

  /// The declaration of a variable or member, such as `__u32 words[4]`.
  func declaration(of name: String, type id: UInt32) throws -> String {
    var declarator = name
    var id = id
    var qualifiers: [String] = []
    for _ in 0...btf.typeCount {
      let type = try btf.type(id)
      switch type.kind {
      case .array:
        // A pointer to an array, not an array of pointers.
        if declarator.hasPrefix("*") { declarator = "(\(declarator))" }
        declarator += "[\(type.count)]"
        id = type.referencedType
      case .ptr:
        declarator = "*" + join(qualifiers, declarator)
        qualifiers = []
        id = type.referencedType
        if id == 0 { return join(qualifiers, "void", declarator) }
      case .const:
        qualifiers.append("const")
        id = type.referencedType
      case .volatile:
        qualifiers.append("volatile")
        id = type.referencedType
      case .restrict, .typeTag:
        id = type.referencedType
      case .structure:
        return join(
          qualifiers,
          type.name.isEmpty ? "struct { … }" : "struct \(type.name)",
          declarator
        )
      case .union:
        return join(
          qualifiers,
          type.name.isEmpty ? "union { … }" : "union \(type.name)",
          declarator
        )
      case .enumeration, .enum64:
        return join(qualifiers, type.name.isEmpty ? "enum { … }" : "enum \(type.name)", declarator)
      case .fwd:
        return join(qualifiers, "struct \(type.name)", declarator)
      case .functionPrototype, .function:
        return join(qualifiers, "void", "(\(declarator))()")
      default:
        return join(qualifiers, type.name.isEmpty ? "void" : type.name, declarator)
      }
    }
    return name
  }

  private func join(_ qualifiers: [String], _ words: String...) -> String {
    (qualifiers + words.filter { !$0.isEmpty }).joined(separator: " ")
  }
}
