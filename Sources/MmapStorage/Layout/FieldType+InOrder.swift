extension FieldType {
  /// Whether the map has the same fields in the same order. Only true is a verdict: layouts that
  /// differ here may still match, and ``LayoutMatcher`` says in what they differ. This takes a
  /// fraction of its time.
  func matchesInOrder(_ map: FieldType) -> Bool {
    switch (self, map) {
    case (.structure(let left), .structure(let right)):
      left.size == right.size && left.members.count == right.members.count
        && zip(left.members, right.members).allSatisfy { left, right in
          left.offset == right.offset && !left.name.isEmpty
            && (left.name == right.name || snakeCase(left.name) == right.name)
            && left.type.matchesInOrder(right.type)
        }
    case (.array(let left, let leftCount), .array(let right, let rightCount)):
      leftCount == rightCount && left.matchesInOrder(right)
    case (.structure, _), (.union, _), (_, .structure), (_, .union):
      false
    default:
      differences(from: map).isEmpty
    }
  }
}
