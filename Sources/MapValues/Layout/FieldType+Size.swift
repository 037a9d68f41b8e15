// SPDX-License-Identifier: Apache-2.0
extension FieldType {
  /// The size in bytes of an element in an array of this type: C's `sizeof`.
  package var size: Int {
    switch self {
    case .integer(let size, _), .floatingPoint(let size), .enumeration(_, let size, _, _),
      .opaque(let size, _), .unsupported(_, let size, _):
      size
    case .character, .boolean: 1
    case .bitField(let bit, let width): (bit + width + 7) / 8
    case .array(let element, let count): element.size * count
    case .structure(let layout), .union(let layout): layout.size
    }
  }

  /// Whether a field of this type is loaded and stored in one piece.
  var isScalar: Bool {
    switch self {
    case .integer, .character, .boolean, .floatingPoint, .enumeration: true
    case .array, .structure, .union, .opaque, .bitField, .unsupported: false
    }
  }
}
