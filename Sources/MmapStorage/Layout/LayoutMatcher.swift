/// Pairs the fields of two descriptions and makes a row of each pair.
struct LayoutMatcher {
  typealias Row = LayoutComparison.Row
  typealias Side = LayoutComparison.Side
  typealias Difference = LayoutComparison.Difference

  /// A row with the fields that it was made of.
  private struct Match {
    var swift: PlacedField?
    var map: PlacedField?
    var differences: Set<Difference>
    /// The Swift field before this one in the same structure, or before that structure.
    var before: PlacedField?
    /// The path of the structure in Swift or in the map that offsets count from.
    var scope: String
  }

  let swift: FieldType
  let map: FieldType
  let policy: LayoutPolicy
  /// The first byte behind everything that Swift knows.
  let swiftEnd: Int

  init(swift: FieldType, map: FieldType, policy: LayoutPolicy) {
    self.swift = swift
    self.map = map
    self.policy = policy
    swiftEnd = scalarRanges(of: swift).map(\.upperBound).max() ?? 0
  }

  func rows() -> [Row] {
    let left = PlacedField(name: "", path: "", offset: 0, type: swift)
    let right = PlacedField(name: "", path: "", offset: 0, type: map)
    let matches = match(left, right, before: nil, isRenamed: false, scope: nil)
    var rows = matches.map(row)
    for index in rows.indices where !rows[index].differences.isEmpty {
      rows[index].hint = hint(at: index, in: matches)
    }
    if swift.isComposite, map.isComposite {
      rows.append(wholeValue(isExplained: !rows.allSatisfy(\.hint.isEmpty)))
    }
    return rows
  }

  private func row(_ match: Match) -> Row {
    Row(
      swift: match.swift.map {
        Side(name: $0.path, offset: $0.offset, size: $0.type.size, type: $0.type.swiftWords)
      },
      map: match.map.map {
        Side(name: $0.path, offset: $0.offset, size: $0.type.size, type: $0.type.cWords)
      },
      differences: match.differences,
      hint: ""
    )
  }

  private func wholeValue(isExplained: Bool) -> Row {
    let matches = policy == .compatible ? map.size >= swift.size : map.size == swift.size
    var hint = ""
    if !matches, !isExplained {
      hint =
        "the value has \(swift.size) bytes in Swift and \(map.size) in the map, though all fields "
        + "match: one side has padding at its end that the other has not"
    }
    return Row(
      swift: Side(name: "", offset: 0, size: swift.size, type: ""),
      map: Side(name: "", offset: 0, size: map.size, type: ""),
      differences: matches ? [] : [.size],
      hint: hint
    )
  }

  // MARK: Pairing

  /// A row for the pair itself, unless it is a structure, and one for each member.
  ///
  /// Offsets in array elements count from the element; `scope` is the array's path there.
  private func match(
    _ left: PlacedField,
    _ right: PlacedField,
    before: PlacedField?,
    isRenamed: Bool,
    scope: String?
  ) -> [Match] {
    var differences = left.type.differences(from: right.type)
    if isRenamed { differences.insert(.name) }
    let (leftElement, rightElement) = FieldType.elements(left.type, right.type)
    let hasMembers =
      leftElement.isComposite && rightElement.isComposite
      && differences.isDisjoint(with: [.kind, .unsupported])
    let isStructure = left.type.isComposite && right.type.isComposite
    if !isStructure, left.offset != right.offset { differences.insert(.offset) }
    var matches: [Match] = []
    if !isStructure || isRenamed {
      matches.append(
        Match(
          swift: left,
          map: right,
          differences: differences,
          before: before,
          scope: scope ?? ""
        )
      )
    }
    guard hasMembers else { return matches }
    var (left, right) = (left, right)
    if !isStructure {
      left = left.element(leftElement)
      right = right.element(rightElement)
    }
    return matches
      + matchMembers(left, right, before: before, scope: isStructure ? scope : left.path)
  }

  private func matchMembers(
    _ swift: PlacedField,
    _ map: PlacedField,
    before outer: PlacedField?,
    scope: String?
  ) -> [Match] {
    let left = PlacedField.members(of: swift)
    let right = PlacedField.members(of: map)
    var pairs: [(left: Int, right: Int, isRenamed: Bool)] = []
    var openLeft = Array(left.indices)
    var openRight = Array(right.indices)

    func pair(isRenamed: Bool, _ belongTogether: (PlacedField, PlacedField) -> Bool) {
      openLeft.removeAll { index in
        guard let match = openRight.first(where: { belongTogether(left[index], right[$0]) }) else {
          return false
        }
        pairs.append((index, match, isRenamed))
        openRight.removeAll { $0 == match }
        return true
      }
    }
    pair(isRenamed: false) { $0.name == $1.name }
    pair(isRenamed: false) { snakeCase($0.name) == $1.name }
    pair(isRenamed: true) { fieldName($0.name, resembles: $1.name) }
    pair(isRenamed: true) { $0.offset == $1.offset && $0.type.differences(from: $1.type).isEmpty }

    var groups: [(offset: Int, matches: [Match])] = []
    let byOffset = left.sorted { $0.offset < $1.offset }
    for (index, match, isRenamed) in pairs {
      let before = byOffset.last { $0.offset < left[index].offset } ?? outer
      groups.append(
        (
          right[match].offset,
          self.match(
            left[index],
            right[match],
            before: before,
            isRenamed: isRenamed,
            scope: scope
          )
        )
      )
    }
    for index in openLeft {
      groups.append(
        (left[index].offset, [Match(swift: left[index], differences: [.extra], scope: scope ?? "")])
      )
    }
    let chosen = Set(pairs.flatMap { right[$0.right].branches })
    for field in missing(openRight.map { right[$0] }, chosen: chosen) {
      let isTrailing = policy == .compatible && scope == nil && field.offset >= swiftEnd
      groups.append(
        (
          field.offset,
          [Match(map: field, differences: isTrailing ? [] : [.missing], scope: scope ?? "")]
        )
      )
    }
    groups.sort { $0.offset < $1.offset }
    return groups.flatMap(\.matches)
  }

  /// Fields of the map that Swift ought to have. Of a union one alternative is enough; where none
  /// is there, the first stands for all.
  private func missing(
    _ fields: [PlacedField],
    chosen: Set<PlacedField.Branch>
  ) -> [PlacedField] {
    var chosen = chosen
    return fields.filter { field in
      for branch in field.branches {
        if !chosen.contains(where: { $0.union == branch.union }) { chosen.insert(branch) }
        if !chosen.contains(branch) { return false }
      }
      return true
    }
  }

  // MARK: Hints

  private func hint(at index: Int, in matches: [Match]) -> String {
    let match = matches[index]
    guard let left = match.swift else { return match.map.map(missingHint) ?? "" }
    guard let right = match.map else {
      return "'\(left.path)' is not in the map: remove it, correct its name, or, if C has padding "
        + "there, declare it with Field.padding"
    }
    if case .unsupported(let name, _, let advice) = right.type,
      match.differences.contains(.unsupported)
    {
      return "'\(right.path)' is \(name) in the map: \(advice)"
    }
    var texts: [String] = []
    if match.differences.contains(.name) {
      texts.append(
        "is '\(right.path)' in the map: rename it, or declare Field(\"\(right.name)\", "
          + "\\.\(left.name))"
      )
    }
    if match.differences.contains(.offset) {
      texts.append(
        "is at byte \(left.offset) in Swift and at byte \(right.offset) in the map"
          + offsetReason(at: index, in: matches, left, right)
      )
    }
    if !match.differences.isDisjoint(with: [.kind, .sign, .length, .size]) {
      texts.append(typeHint(left.type, right))
    }
    let name = left.path.isEmpty ? "the value" : "'\(left.path)'"
    return "\(name) " + texts.joined(separator: "; and ")
  }

  private func missingHint(_ field: PlacedField) -> String {
    if case .unsupported(let name, _, let advice) = field.type {
      return "'\(field.path)' is \(name) in the map, and not in Swift: \(advice)"
    }
    let end = field.offset + field.type.size
    var text =
      "'\(field.path)' (\(field.type.cWords), bytes \(field.offset) to \(end - 1)) is not in Swift: "
      + "add it"
    if let word = field.type.suggestedSwift { text += " as \(word)" }
    if policy == .exact, field.offset >= swiftEnd {
      text += ", or use the policy .compatible, which leaves trailing fields aside"
    }
    return text
  }

  private func typeHint(_ left: FieldType, _ right: PlacedField) -> String {
    var text =
      "is \(left.swiftWords) (\(left.size) bytes) in Swift and \(right.type.cWords) "
      + "(\(right.type.size) bytes) in the map"
    switch (left.isComposite, right.type) {
    case (false, .union):
      text += ": declare one alternative, as in Field(\"\(right.path).NAME\", \\.property)"
    case (true, _), (_, .structure):
      text += ": one side has a structure there and the other has not"
    default:
      if let word = right.type.suggestedSwift { text += ": make it \(word)" }
    }
    return text
  }

  private func offsetReason(
    at index: Int,
    in matches: [Match],
    _ left: PlacedField,
    _ right: PlacedField
  ) -> String {
    let match = matches[index]
    if let before = match.before, before.type.isComposite, left.offset < right.offset,
      before.offset + before.type.size > left.offset
    {
      return ": Swift puts it into the padding at the end of '\(before.path)'; end "
        + "\(before.type.swiftWords) with a property that fills it, declared with Field.padding"
    }
    let isSwapped = matches.contains {
      guard let otherLeft = $0.swift, let otherRight = $0.map, $0.scope == match.scope else {
        return false
      }
      return (otherLeft.offset - left.offset).signum()
        * (otherRight.offset - right.offset).signum() < 0
    }
    if isSwapped { return ": the fields are in another order" }
    let isFollowUp = matches[..<index].contains {
      !$0.differences.isDisjoint(with: [.offset, .size, .length, .missing, .extra])
    }
    if isFollowUp { return ": see the differences above it" }
    return left.offset < right.offset
      ? ": C has padding before it; fill it with a property declared with Field.padding"
      : ": Swift has bytes before it that C has not, as in a packed C structure"
  }
}
