extension FieldType {
  /// Bytes that a field of this type takes in an array of them: C's `sizeof`.
  public var size: Int {
    switch self {
    case .integer(let size, _), .floatingPoint(let size), .enumeration(_, let size, _),
      .opaque(let size), .unsupported(_, let size, _):
      size
    case .character, .boolean: 1
    case .array(let element, let count): element.size * count
    case .structure(let layout), .union(let layout): layout.size
    }
  }
}
