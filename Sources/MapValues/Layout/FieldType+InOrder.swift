// SPDX-License-Identifier: Apache-2.0
extension FieldType {
  /// Whether the map has the same fields in the same order. If not, the layouts may still match, and
  /// ``LayoutMatcher`` finds their differences. This takes a fraction of its time.
  func matchesInOrder(_ map: FieldType) -> Bool {
    let (swift, map) = FieldType.aligned(self, map)
    switch (swift, map) {
    case (.structure(let left), .structure(let right)):
      return left.size == right.size && left.members.count == right.members.count
        && zip(left.members, right.members).allSatisfy { left, right in
          left.offset == right.offset && (!left.name.isEmpty || left.type.isComposite)
            && (left.name == right.name || snakeCase(left.name) == right.name)
            && left.type.matchesInOrder(right.type)
        }
    case (.union(let left), .union(let right)):
      // Generated types have all alternatives, in the order of the C declaration.
      return left == right
    case (.array(let left, let leftCount), .array(let right, let rightCount)):
      return leftCount == rightCount && left.matchesInOrder(right)
    case (.structure, _), (.union, _), (_, .structure), (_, .union):
      return false
    default:
      return swift.differences(from: map).isEmpty
    }
  }
}
