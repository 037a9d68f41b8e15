// SPDX-License-Identifier: Apache-2.0
/// Pairs the fields of two descriptions, and makes a row of each pair.
struct LayoutMatcher {
  typealias Row = LayoutComparison.Row
  typealias Side = LayoutComparison.Side
  typealias Difference = LayoutComparison.Difference

  /// A row, and the fields that it was created from.
  struct Match {
    var swift: PlacedField?
    var map: PlacedField?
    var differences: Set<Difference>
    /// The Swift field before this one in the same structure, or before that structure.
    var before: PlacedField?
    /// The path of the structure, in Swift or in the map, to which offsets are relative.
    var scope: String
  }

  let swift: FieldType
  let map: FieldType
  let policy: LayoutPolicy
  /// The offset after the last field of the Swift type.
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
    let hints = LayoutHints(matches: matches, policy: policy, swiftEnd: swiftEnd)
    for index in rows.indices where !rows[index].differences.isEmpty {
      rows[index].hint = hints.hint(at: index)
    }
    if swift.isComposite, map.isComposite {
      rows.append(wholeValue(isExplained: !rows.allSatisfy(\.hint.isEmpty)))
    }
    return rows
  }

  private func row(_ match: Match) -> Row {
    Row(
      swift: match.swift.map {
        Side(
          name: $0.path,
          offset: $0.offset,
          size: $0.type.size,
          type: $0.type.swiftWords,
          cType: $0.type.cWords
        )
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
        "the value has \(swift.size) bytes in Swift and \(map.size) in the map, although all fields "
        + "match: one side has more padding at its end"
    }
    return Row(
      swift: Side(name: "", offset: 0, size: swift.size, type: ""),
      map: Side(name: "", offset: 0, size: map.size, type: ""),
      differences: matches ? [] : [.size],
      hint: hint
    )
  }

  // MARK: Pairing

  /// Returns a row for the pair itself, unless it is a structure, and one for each member.
  ///
  /// Offsets in array elements are relative to the element. There, `scope` is the path of the
  /// array.
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

    /// Pairs the first fields with equal keys for which `condition` holds.
    func pair<Key: Hashable>(
      isRenamed: Bool,
      left leftKey: (PlacedField) -> Key,
      right rightKey: (PlacedField) -> Key,
      where condition: (PlacedField, PlacedField) -> Bool = { _, _ in true }
    ) {
      if openLeft.isEmpty || openRight.isEmpty { return }
      let candidates = Dictionary(grouping: openRight) { rightKey(right[$0]) }
      var taken: Set<Int> = []
      openLeft.removeAll { index in
        let match = candidates[leftKey(left[index])]?.first {
          !taken.contains($0) && condition(left[index], right[$0])
        }
        guard let match else { return false }
        pairs.append((index, match, isRenamed))
        taken.insert(match)
        return true
      }
      openRight.removeAll { taken.contains($0) }
    }
    pair(isRenamed: false, left: \.name, right: \.name)
    pair(isRenamed: false, left: { snakeCase($0.name) }, right: \.name)
    pair(isRenamed: true, left: { looseName($0.name) }, right: { looseName($0.name) })
    pair(isRenamed: true, left: \.offset, right: \.offset) {
      $0.type.differences(from: $1.type).isEmpty
    }

    let before = fieldsBefore(left, outer)
    var groups: [(offset: Int, matches: [Match])] = []
    for (index, match, isRenamed) in pairs {
      groups.append(
        (
          right[match].offset,
          self.match(
            left[index],
            right[match],
            before: before[left[index].offset] ?? outer,
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

  /// For each offset, the field before it.
  private func fieldsBefore(
    _ fields: [PlacedField],
    _ outer: PlacedField?
  ) -> [Int: PlacedField] {
    var before: [Int: PlacedField] = [:]
    var last = outer
    var current: PlacedField?
    for field in fields.sorted(by: { $0.offset < $1.offset }) {
      if let current, current.offset < field.offset { last = current }
      before[field.offset] = last
      current = field
    }
    return before
  }

  /// Returns the fields of the map that the Swift type lacks. One alternative of a union is
  /// sufficient. If the Swift type has none, the first one is returned.
  private func missing(
    _ fields: [PlacedField],
    chosen: Set<PlacedField.Branch>
  ) -> [PlacedField] {
    var chosen = chosen
    var unions = Set(chosen.map(\.union))
    return fields.filter { field in
      for branch in field.branches {
        if unions.insert(branch.union).inserted { chosen.insert(branch) }
        if !chosen.contains(branch) { return false }
      }
      return true
    }
  }
}
