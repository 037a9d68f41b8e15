/// Checks that a global may be read and written as a value of a Swift type.
func checkGlobal<Field: MapField>(
  _ name: String,
  declared: FieldType,
  size: Int,
  as type: Field.Type,
  attempt: String,
  on object: String
) throws(BPFError) {
  let given = try Field.fieldType()
  let comparison = LayoutComparison(
    swift: given,
    swiftName: "\(Field.self)",
    map: declared,
    mapName: name
  )
  guard comparison.isMatch, MemoryLayout<Field>.size == size else {
    throw BPFError(
      .layoutMismatch,
      attempt: attempt,
      on: object,
      advice: "the program declares it with \(size) bytes, Swift type '\(Field.self)' has "
        + "\(MemoryLayout<Field>.size); rows that differ are marked '!' below",
      details: comparison.table
    )
  }
}
