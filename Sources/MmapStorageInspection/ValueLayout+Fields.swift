// SPDX-License-Identifier: Apache-2.0
public import MapValues

extension ValueLayout {
  /// A field of a value: a scalar or an array, with its place.
  public struct Field: Sendable, Hashable {
    /// The name with those of the enclosing structures, such as "header.kind". Members of anonymous
    /// structures and unions have no prefix.
    public var name: String
    /// The offset in bytes from the start of the value.
    public var offset: Int
    /// The size in bytes.
    public var size: Int { type.size }
    /// The type in C, such as "u64" or "char[16]".
    public var typeName: String { type.cWords }
    /// The named constants if the field is a C enumeration or an array of one, in the order of their
    /// declaration; empty otherwise.
    public var enumerators: [FieldValue] {
      var type = type
      while case .array(let element, _) = type { type = element }
      guard case .enumeration(_, _, let signed, let enumerators) = type else { return [] }
      return enumerators.map {
        .enumeration(name: $0.name, number: $0.number(signed: signed))
      }
    }
    /// The type.
    fileprivate var type: FieldType

    /// Reads the field.
    ///
    /// - Parameter bytes: The whole value. Bytes that are missing read as zero.
    /// - Returns: The field's value.
    public func value(in bytes: [UInt8]) -> FieldValue { type.value(in: bytes, at: offset) }
  }

  /// The size of a value in bytes.
  public var size: Int { type.size }

  /// The C name of the value's type: a tag or the name of a typedef.
  public var typeName: String { name }

  /// Whether values are in user pages (`__uptr`) instead of the map's elements.
  public var hasUserPages: Bool { isInUserPage }

  /// The fields in the order of their offsets. Nested structures are replaced by their members, and unions by
  /// each of their members. A value that is not a structure is one field, "value".
  public var fields: [Field] {
    leaves.map { path, offset, type in
      Field(name: path.isEmpty ? "value" : path, offset: offset, type: type)
    }
  }

  /// Compares two layouts of C types field by field.
  ///
  /// - Parameters:
  ///   - other: The layout on the right side of the table.
  ///   - names: The names of the two sides, such as "object a.bpf.o".
  /// - Returns: A table with both layouts, a line for each field, and a mark at each difference; `nil`
  ///   if all fields have the same name, offset, size and kind.
  public func difference(
    from other: ValueLayout,
    names: (left: String, right: String)
  ) -> String? {
    differences(from: other, leftName: names.left, rightName: names.right)
  }
}
