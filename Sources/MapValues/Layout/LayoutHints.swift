// SPDX-License-Identifier: Apache-2.0
/// Advice for each row whose sides differ: the line to change, and how.
struct LayoutHints {
  typealias Match = LayoutMatcher.Match

  private let matches: [Match]
  private let policy: LayoutPolicy
  private let swiftEnd: Int
  /// The first row with a difference that moves the fields after it.
  private let firstShift: Int
  private let reordered: Set<Int>

  init(matches: [Match], policy: LayoutPolicy, swiftEnd: Int) {
    self.matches = matches
    self.policy = policy
    self.swiftEnd = swiftEnd
    firstShift =
      matches.firstIndex {
        !$0.differences.isDisjoint(with: [.offset, .size, .length, .missing, .extra])
      } ?? matches.endIndex
    reordered = Self.reorderedRows(matches)
  }

  /// Rows for which another row of the same scope is before it on one side and after it on the other.
  private static func reorderedRows(_ matches: [Match]) -> Set<Int> {
    var scopes: [String: [(index: Int, left: Int, right: Int)]] = [:]
    for (index, match) in matches.enumerated() {
      guard let left = match.swift, let right = match.map else { continue }
      scopes[match.scope, default: []].append((index, left.offset, right.offset))
    }
    var reordered: Set<Int> = []
    for var rows in scopes.values {
      rows.sort { $0.left < $1.left }
      for isForward in [true, false] {
        // The largest offset on the right of all rows that are before this one on the left; then
        // the same backwards, with the signs changed.
        var largest = Int.min
        var ofEqual = Int.min
        var last: Int?
        for row in isForward ? rows : rows.reversed() {
          let right = isForward ? row.right : -row.right
          if row.left != last { largest = max(largest, ofEqual) }
          if largest > right { reordered.insert(row.index) }
          ofEqual = max(ofEqual, right)
          last = row.left
        }
      }
    }
    return reordered
  }

  func hint(at index: Int) -> String {
    let match = matches[index]
    guard let left = match.swift else { return match.map.map(missingHint) ?? "" }
    guard let right = match.map else {
      return "'\(left.path)' is not in the map: remove it, correct its name, or, if C has padding "
        + "there, declare it with Field.padding"
    }
    if let (name, advice) = right.type.unsupported, match.differences.contains(.unsupported) {
      return "'\(right.path)' \(isOfType(name)) in the map: \(advice)"
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
          + offsetReason(at: index, left, right)
      )
    }
    if !match.differences.isDisjoint(with: [.kind, .sign, .length, .size]) {
      texts.append(typeHint(left.type, right))
    }
    let name = left.path.isEmpty ? "the value" : "'\(left.path)'"
    return "\(name) " + texts.joined(separator: "; and ")
  }

  private func missingHint(_ field: PlacedField) -> String {
    if let (name, advice) = field.type.unsupported {
      return "'\(field.path)' \(isOfType(name)) in the map, and is not in Swift: \(advice)"
    }
    let end = field.offset + field.type.size
    var text =
      "'\(field.path)' (\(field.type.cWords), bytes \(field.offset) to \(end - 1)) is not in Swift: "
      + "add it"
    if let word = field.type.suggestedSwift { text += " as \(word)" }
    if policy == .exact, field.offset >= swiftEnd {
      text += ", or use the policy .compatible, which ignores trailing fields"
    }
    return text
  }

  private func isOfType(_ name: String) -> String {
    name.hasPrefix("struct ") || name.hasPrefix("_") ? "has the type '\(name)'" : "is a \(name)"
  }

  private func typeHint(_ swift: FieldType, _ field: PlacedField) -> String {
    let (left, right) = FieldType.aligned(swift, field.type)
    if case .opaque = left {
      return "is declared opaque with \(left.size) bytes, and is \(right.cWords) with "
        + "\(right.size) bytes in the map: give the property \(right.size) bytes"
    }
    var text =
      "is \(left.swiftWords) (\(left.size) bytes) in Swift and \(field.type.cWords) "
      + "(\(field.type.size) bytes) in the map"
    switch (left.isComposite, right) {
    case (false, .union):
      text += ": declare one alternative, as in Field(\"\(field.path).NAME\", \\.property)"
    case (true, _), (_, .structure):
      text += ": only one side has a structure there"
    default:
      if let word = field.type.suggestedSwift { text += ": make it \(word)" }
    }
    return text
  }

  private func offsetReason(
    at index: Int,
    _ left: PlacedField,
    _ right: PlacedField
  ) -> String {
    let match = matches[index]
    if let before = match.before, before.type.isComposite, left.offset < right.offset,
      before.offset + before.type.size > left.offset
    {
      return ": Swift puts it into the padding at the end of '\(before.path)'; end "
        + "\(before.type.swiftWords) with a property that fills the padding, declared with "
        + "Field.padding"
    }
    if reordered.contains(index) { return ": the fields are in another order" }
    if firstShift < index { return ": see the differences above it" }
    return left.offset < right.offset
      ? ": C has padding before it; fill it with a property declared with Field.padding"
      : ": Swift has bytes before it that C does not have, as in a packed C structure"
  }
}
