/// The offsets of every `bool` in a value of type `type`, array elements one by one.
///
/// A C program may leave any byte there, and every one but 0 means true. Swift relies on 0 and 1, and
/// uses the others as its own marks, so such a byte must not get into a Swift value as it is.
func booleanOffsets(of type: FieldType, at offset: Int = 0) -> [Int] {
  switch type {
  case .boolean: [offset]
  case .array(let element, let count):
    booleanOffsets(of: element).flatMap { inElement in
      (0..<count).map { offset + $0 * element.size + inElement }
    }
  case .structure(let layout), .union(let layout):
    layout.members.flatMap { booleanOffsets(of: $0.type, at: offset + $0.offset) }
  case .integer, .character, .floatingPoint, .enumeration, .opaque, .unsupported: []
  }
}
