// SPDX-License-Identifier: Apache-2.0
/// A named field with its offset in the whole value. The members of anonymous structures and unions
/// belong to the enclosing structure.
struct PlacedField {
  /// An alternative of a union that the field belongs to.
  struct Branch: Hashable {
    var union: Int
    var alternative: Int
  }

  var name: String
  var path: String
  var offset: Int
  var type: FieldType
  /// The anonymous unions that enclose the field, outermost first.
  var branches: [Branch] = []

  /// Returns the members of a structure, or the alternatives of a union.
  static func members(of composite: PlacedField) -> [PlacedField] {
    var collector = MemberCollector(path: composite.path)
    collector.collect(composite.type, base: composite.offset, branches: [])
    return collector.fields
  }

  /// Returns the first element of an array. The offsets of its members are relative to the element.
  func element(_ element: FieldType) -> PlacedField {
    var field = self
    if case .array = type { field.path += "[]" }
    field.type = element
    field.offset = 0
    return field
  }
}

private struct MemberCollector {
  let path: String
  var fields: [PlacedField] = []
  private var unions = 0

  init(path: String) { self.path = path }

  mutating func collect(_ type: FieldType, base: Int, branches: [PlacedField.Branch]) {
    switch type {
    case .structure(let layout):
      for member in layout.members { collect(member, base: base, branches: branches) }
    case .union(let layout):
      let union = unions
      unions += 1
      for (index, member) in layout.members.enumerated() {
        let branch = PlacedField.Branch(union: union, alternative: index)
        collect(member, base: base, branches: branches + [branch])
      }
    default:
      break
    }
  }

  private mutating func collect(
    _ member: CompositeLayout.Member,
    base: Int,
    branches: [PlacedField.Branch]
  ) {
    let offset = base + member.offset
    if member.name.isEmpty, member.type.isComposite {
      collect(member.type, base: offset, branches: branches)
    } else if member.type.takesPart {
      insert(
        PlacedField(
          name: member.name,
          path: joined(member.name),
          offset: offset,
          type: member.type,
          branches: branches
        )
      )
    }
  }

  /// Adds a field. A dotted name becomes a member of a structure that is created for it.
  private mutating func insert(_ field: PlacedField) {
    guard let dot = field.name.firstIndex(of: ".") else {
      fields.append(field)
      return
    }
    let outer = String(field.name[..<dot])
    let inner = CompositeLayout.Member(
      name: String(field.name[field.name.index(after: dot)...]),
      offset: field.offset,
      type: field.type
    )
    let existing = fields.firstIndex { $0.name == outer && $0.type.isComposite }
    var members = [inner]
    if let existing, case .structure(let layout) = fields[existing].type {
      let start = fields[existing].offset
      members =
        layout.members.map { .init(name: $0.name, offset: start + $0.offset, type: $0.type) }
        + members
    }
    let start = members.map(\.offset).min() ?? field.offset
    let end = members.map { $0.offset + $0.type.size }.max() ?? start
    members = members.map { .init(name: $0.name, offset: $0.offset - start, type: $0.type) }
    let structure = PlacedField(
      name: outer,
      path: joined(outer),
      offset: start,
      type: .structure(CompositeLayout(name: "", size: end - start, members: members))
    )
    if let existing { fields[existing] = structure } else { fields.append(structure) }
  }

  private func joined(_ name: String) -> String { path.isEmpty ? name : "\(path).\(name)" }
}

extension FieldType {
  /// Whether there is anything to compare: bytes, or a type that Swift has no field for.
  fileprivate var takesPart: Bool {
    if case .unsupported = self { return true }
    return size > 0
  }
}
