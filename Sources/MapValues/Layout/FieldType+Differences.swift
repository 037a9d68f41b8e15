// SPDX-License-Identifier: Apache-2.0
extension FieldType {
  /// Whether the type has members.
  var isComposite: Bool {
    switch self {
    case .structure, .union: true
    default: false
    }
  }

  /// Pairs two types in the way that Swift imports C types.
  ///
  /// A C array of one element is imported as the element itself, in each dimension. A C enumeration
  /// is imported as a structure with the property `rawValue`.
  static func aligned(_ swift: FieldType, _ map: FieldType) -> (swift: FieldType, map: FieldType) {
    switch (swift, map) {
    case (.array(_, let count), .array(.array, 1)) where count != 1:
      guard case .array(let element, _) = map else { return (swift, map) }
      return aligned(swift, element)
    case (.array, .array):
      return (swift, map)
    case (_, .array(let element, 1)):
      return aligned(swift, element)
    case (.structure(let layout), _) where !map.isComposite:
      guard layout.members.count == 1, layout.members[0].name == "rawValue",
        layout.members[0].type.isScalar, layout.members[0].type.size == layout.size
      else { return (swift, map) }
      return (layout.members[0].type, map)
    default:
      return (swift, map)
    }
  }

  /// Returns the differences between the Swift type and the map's, apart from those between the
  /// members of structures.
  func differences(from map: FieldType) -> Set<LayoutComparison.Difference> {
    var differences: Set<LayoutComparison.Difference> = []
    let (swift, map) = FieldType.aligned(self, map)
    switch (swift, map) {
    case (.opaque, _):
      break
    case (.unsupported(let left, _, _), .unsupported(let right, _, _)) where left == right:
      break
    case (.bitField, .bitField):
      if swift != map { return [.kind] }
    case (_, .unsupported), (_, .bitField):
      return [.unsupported]
    case (.integer(_, let left), .integer(_, let right)),
      (.integer(_, let left), .enumeration(_, _, let right, _)),
      (.enumeration(_, _, let left, _), .integer(_, let right)),
      (.enumeration(_, _, let left, _), .enumeration(_, _, let right, _)):
      if left != right { differences.insert(.sign) }
    case (.integer, .character), (.character, .integer), (.character, .character),
      (.boolean, .boolean), (.floatingPoint, .floatingPoint):
      break
    case (.structure, .structure), (.structure, .union), (.union, .structure), (.union, .union):
      return []
    case (.array(let left, let leftCount), .array(let right, let rightCount)):
      differences = left.differences(from: right).subtracting([.size])
      if leftCount != rightCount { differences.insert(.length) }
    default:
      differences.insert(.kind)
    }
    if swift.size != map.size { differences.insert(.size) }
    return differences
  }

  /// Returns the innermost elements of the arrays on both sides, unwrapped as in
  /// `differences(from:)`.
  static func elements(_ swift: FieldType, _ map: FieldType) -> (FieldType, FieldType) {
    let (swift, map) = aligned(swift, map)
    guard case .array(let left, _) = swift, case .array(let right, _) = map else {
      return (swift, map)
    }
    return elements(left, right)
  }
}
