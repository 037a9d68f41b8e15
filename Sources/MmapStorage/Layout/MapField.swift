/// Anything that may stand in a map's value: a number, an array, or a structure of those.
///
/// A field is plain bytes: no references, a fixed size, and every bit pattern of all zeroes is a
/// value, because that is what the kernel hands out for storage that nobody has written.
public protocol MapField: BitwiseCopyable, Sendable {
  /// What the field is, for comparison with the map's BTF.
  static func fieldType() throws(StorageError) -> FieldType
}
