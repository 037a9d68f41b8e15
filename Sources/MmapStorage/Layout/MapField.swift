public import LibBPF

/// Anything that may stand in a map's value: a number, an array, or a structure of those.
///
/// A field is plain bytes: no references, a fixed size, and all bytes zero is a value, because
/// that is what the kernel hands out for storage that nobody has written. Layouts are checked for
/// this when they are described. The protocol does not refine `BitwiseCopyable`, because Swift
/// does not let a structure from a C header conform to a protocol that does, and does not see a
/// structure with a C union as `BitwiseCopyable` at all.
public protocol MapField: Sendable {
  /// What the field is, for comparison with the map's BTF.
  ///
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutUndescribed`` if the type cannot
  ///   be described.
  static func fieldType() throws(BPFError) -> FieldType
}
