extension FieldType {
  /// Whether this has members.
  var isComposite: Bool {
    switch self {
    case .structure, .union: true
    default: false
    }
  }

  /// In what the Swift type differs from the map's, members of structures aside.
  func differences(from map: FieldType) -> Set<LayoutComparison.Difference> {
    var differences: Set<LayoutComparison.Difference> = []
    switch (self, map) {
    case (.opaque, _):
      break
    case (_, .unsupported):
      return [.unsupported]
    case (.integer(_, let left), .integer(_, let right)),
      (.integer(_, let left), .enumeration(_, _, let right)),
      (.enumeration(_, _, let left), .integer(_, let right)),
      (.enumeration(_, _, let left), .enumeration(_, _, let right)):
      if left != right { differences.insert(.sign) }
    case (.integer, .character), (.character, .integer), (.character, .character),
      (.boolean, .boolean), (.floatingPoint, .floatingPoint):
      break
    case (.structure, .structure), (.structure, .union), (.union, .structure), (.union, .union):
      return []
    case (.array(let left, let leftCount), .array(let right, let rightCount)):
      differences = left.differences(from: right).subtracting([.size])
      if leftCount != rightCount { differences.insert(.length) }
    case (_, .array(let element, 1)):
      return self.differences(from: element)
    default:
      differences.insert(.kind)
    }
    if size != map.size { differences.insert(.size) }
    return differences
  }

  /// What the arrays on both sides hold, unwrapped in step as `differences(from:)` does.
  static func elements(_ swift: FieldType, _ map: FieldType) -> (FieldType, FieldType) {
    switch (swift, map) {
    case (.array(let left, _), .array(let right, _)): elements(left, right)
    case (_, .array(let element, 1)): elements(swift, element)
    default: (swift, map)
    }
  }
}
