/// Checks that a global may be read and written as a value of a Swift type.
func checkGlobal<Field: MapField>(
  _ name: String,
  declared: FieldType,
  size: Int,
  as type: Field.Type,
  attempt: String,
  on object: String
) throws(StorageError) {
  let given = try Field.fieldType()
  guard MemoryLayout<Field>.size == size, matches(given, declared) else {
    throw StorageError(
      .layoutMismatch,
      attempt: attempt,
      on: object,
      advice: "the program declares \(declared) of \(size) bytes, \(Field.self) is \(given) of "
        + "\(MemoryLayout<Field>.size) bytes; use a Swift type of the same size and kind"
    )
  }
}

private func matches(_ given: FieldType, _ declared: FieldType) -> Bool {
  switch (given, declared) {
  case (.integer(1, _), .character), (.character, .integer(1, _)): true
  case (.integer(let size, let signed), .enumeration(_, let declaredSize, let declaredSigned)):
    size == declaredSize && signed == declaredSigned
  case (.array(let element, let count), .array(let declaredElement, let declaredCount)):
    count == declaredCount && matches(element, declaredElement)
  case (.structure(let layout), .structure(let declaredLayout)),
    (.union(let layout), .union(let declaredLayout)):
    layout.size == declaredLayout.size && layout.members.count == declaredLayout.members.count
      && zip(layout.members, declaredLayout.members).allSatisfy {
        $0.name == $1.name && $0.offset == $1.offset && matches($0.type, $1.type)
      }
  case (.opaque, .unsupported): false
  case (.opaque, _): true
  default: given == declared
  }
}
