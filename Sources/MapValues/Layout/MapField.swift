// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// A type of a map's value or of a field in it: a scalar, an array, or a structure of those.
///
/// Do not conform to this protocol directly. Conform scalars to ``MapScalar`` and structures to
/// ``MapValue``.
///
/// A field has a fixed size and contains no references. Zero bytes must be a valid value, because the
/// kernel initializes new values with zeros. This is checked when the layout is described, for example when a
/// ``TaskLocalStorage`` is created.
public protocol MapField: Sendable {
  // The protocol does not refine BitwiseCopyable: Swift does not let a type from a C header conform
  // to a protocol that does, and a C structure with a union is not BitwiseCopyable.
}

extension MapField {
  /// Describes the type, for the comparison with the map's BTF.
  ///
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutUndescribed`` if the type cannot be
  ///   described.
  /// - Complexity: O(*n*) in the number of fields and array elements.
  package static func fieldType() throws(BPFError) -> FieldType { try describe(Self.self) }
}
