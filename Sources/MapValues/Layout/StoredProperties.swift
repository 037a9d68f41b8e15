// SPDX-License-Identifier: Apache-2.0
@_spi(Reflection) internal import Swift

// Invariant: the runtime lends the name of a field for one call.

// The standard library's Mirror would have to be given a value, and reading a property out of made-up
// bytes is not safe if the type holds an unmanaged reference. The SPI reads the metadata only.

/// A stored property of a structure, or an element of a tuple.
struct StoredProperty {
  var name: String
  var type: Any.Type
  var offset: Int
  var size: Int
  var alignment: Int

  var range: Range<Int> { offset..<offset + size }
}

/// Returns the stored properties of a structure, or the elements of a tuple, in order of declaration.
///
/// Leaves out those without bytes. Returns an empty array for other types. The members of a C union,
/// those of an anonymous C structure, and bit-fields are not shown.
func storedProperties(of type: Any.Type) -> [StoredProperty] {
  guard !(type is any InlineArrayType.Type) else { return [] }
  switch typeKind(of: type) {
  case .structure, .tuple: break
  case .enumeration, .other: return []
  }
  var properties: [StoredProperty] = []
  _ = unsafe _forEachField(of: type, options: []) { name, offset, type, _ in
    let (size, alignment) = sizeAndAlignment(of: type)
    if size > 0 {
      properties.append(
        StoredProperty(
          name: unsafe String(cString: name),
          type: type,
          offset: offset,
          size: size,
          alignment: alignment
        )
      )
    }
    return true
  }
  return properties
}

enum TypeKind {
  case structure
  case tuple
  case enumeration
  case other
}

func typeKind(of type: Any.Type) -> TypeKind {
  // The kind of a type is only given for a part of another one.
  func pairType<T>(_ type: T.Type) -> Any.Type { (T, T).self }
  var kind = TypeKind.other
  _ = unsafe _forEachField(of: _openExistential(type, do: pairType), options: []) { _, _, _, part in
    kind =
      switch part {
      case .struct: .structure
      case .tuple: .tuple
      case .enum, .optional: .enumeration
      default: .other
      }
    return false
  }
  return kind
}

func sizeAndAlignment(of type: Any.Type) -> (size: Int, alignment: Int) {
  func measure<T>(_ type: T.Type) -> (size: Int, alignment: Int) {
    (MemoryLayout<T>.size, MemoryLayout<T>.alignment)
  }
  return _openExistential(type, do: measure)
}

/// Whether values of the type hold no references that are counted.
func isPlainBytes(_ type: Any.Type) -> Bool {
  func check<T>(_ type: T.Type) -> Bool { _isPOD(type) }
  return _openExistential(type, do: check)
}
