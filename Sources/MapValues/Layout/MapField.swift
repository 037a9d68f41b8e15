// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// A type that may be in a map's value: a scalar, an array, or a structure of those.
///
/// Do not conform to this protocol itself. Conform scalars to ``MapScalar`` and structures to
/// ``MapValue``.
///
/// A field consists of plain bytes. It holds no references, it has a fixed size, and zero bytes are a
/// valid value, because the kernel fills new storage with zeroes. This is checked when the layout
/// is described, for instance when a ``TaskLocalStorage`` is created.
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
