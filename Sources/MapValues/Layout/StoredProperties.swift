// SPDX-License-Identifier: Apache-2.0
@_spi(Reflection) internal import Swift

// Invariant: the runtime lends the name of a field for one call.

// The standard library's Mirror needs a value, and reading a property from arbitrary bytes is not
// safe if the type contains an unmanaged reference. The SPI reads only metadata.

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
/// Omits zero-sized properties. Returns an empty array for other types. The members of a C union,
/// the members of an anonymous C structure, and bit-fields are not included.
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
  // The SPI returns the kind of a type only for a part of another type.
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

/// Whether values of the type contain no counted references.
func isPlainBytes(_ type: Any.Type) -> Bool {
  func check<T>(_ type: T.Type) -> Bool { _isPOD(type) }
  return _openExistential(type, do: check)
}
