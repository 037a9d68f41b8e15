// SPDX-License-Identifier: Apache-2.0

extension ValueLayout {
  /// The scalars and arrays of the value in the order of their offsets. Nested structures are replaced by their
  /// members, and unions by each of their members. The path of a value that is not a structure is empty.
  package var leaves: [(path: String, offset: Int, type: FieldType)] {
    var leaves: [(path: String, offset: Int, type: FieldType)] = []
    func add(_ field: PlacedField) {
      switch field.type {
      case .structure, .union: PlacedField.members(of: field).forEach(add)
      default: leaves.append((field.path, field.offset, field.type))
      }
    }
    add(PlacedField(name: "", path: "", offset: 0, type: type))
    return leaves.enumerated().sorted { ($0.1.offset, $0.0) < ($1.1.offset, $1.0) }.map(\.element)
  }
}
