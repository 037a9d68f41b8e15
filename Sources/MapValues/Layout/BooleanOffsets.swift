// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

/// Returns the offsets of every `bool` in a value of type `type`, array elements one by one.
///
/// A C program may store any byte in a `bool`, and all except 0 mean true. A Swift `Bool` has to be 0
/// or 1, so other bytes must not get into a Swift value.
package func booleanOffsets(of type: FieldType, at offset: Int = 0) -> [Int] {
  switch type {
  case .boolean: [offset]
  case .array(let element, let count):
    booleanOffsets(of: element).flatMap { inElement in
      (0..<count).map { offset + $0 * element.size + inElement }
    }
  case .structure(let layout):
    layout.members.flatMap { booleanOffsets(of: $0.type, at: offset + $0.offset) }
  // A generated union stores no `Bool`: it reads one from its bytes.
  case .union: []
  case .opaque(_, let booleans): booleans.map { offset + $0 }
  case .integer, .character, .floatingPoint, .enumeration, .bitField, .unsupported: []
  }
}

/// Sets the process's flag for `Bool`s in C unions if `type` has one.
///
/// A type whose other `Bool`s take bit patterns from `Optional` is normalized in any case.
func noteUnionBooleans<Value>(in type: Value.Type, described: FieldType) {
  if MemoryLayout<Value?>.size > MemoryLayout<Value>.size,
    !booleanOffsets(of: described).isEmpty
  {
    mms_set_unions_have_bools()
  }
}
