// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// A structure in a map: the whole value, or a field of it.
///
/// For most structures, the conformance needs no implementation. Their layout is found by reflection:
///
/// ```swift
/// struct RequestTag: MapValue {
///   var requestID: UInt64
///   var deadline: UInt64
///   var priority: UInt32
///   var flags: UInt32
/// }
/// ```
///
/// A property matches the C field with the same name, or with its snake_case form: `requestID` matches
/// `requestID` or `request_id`. Properties may be scalars (``MapScalar``), `InlineArray`s,
/// homogeneous tuples, and structures of those. If a nested structure also conforms, it is accessed as a
/// view, as in `view.header.attempts`. Otherwise use a key path, as in `view[\.header.attempts]`.
///
/// A structure imported from a C header conforms in the same way. Its names are C's:
///
/// ```swift
/// extension request_tag: @retroactive MapValue {}
/// ```
///
/// Reflection does not show the members of a C union or of an anonymous C structure. Declare those,
/// and fields with other names, with key paths in ``fields-swift.type.property``:
///
/// ```swift
/// struct Sample: MapValue {
///   var id: UInt64
///   var reserved: UInt32
///   var words: InlineArray<4, UInt16>
///
///   static var fields: Fields<Self> {
///     Field("sample_id", \.id)
///     Field.padding(\.reserved)
///     Field("words", \.words)
///   }
/// }
/// ```
///
/// The default implementation is available to types that are `BitwiseCopyable`. Swift infers this
/// conformance, but not for `public` structures. Declare those as `MapValue, BitwiseCopyable`.
public protocol MapValue: MapField {
  /// The fields of the structure. The default reads them by reflection.
  @Fields<Self>.Builder static var fields: Fields<Self> { get }
}

extension MapValue {
  /// A declared field; see ``MapValue/fields-swift.type.property``.
  public typealias Field = Fields<Self>.Field
}

extension MapValue where Self: BitwiseCopyable {
  /// The stored properties, by reflection.
  public static var fields: Fields<Self> {
    // With `return`, the body is not the result builder's.
    return .reflected
  }
}

extension FieldType {
  /// Returns the first scalar whose offset is not a multiple of its size.
  func misalignedScalar(
    at offset: Int = 0,
    path: String = ""
  ) -> (path: String, offset: Int, size: Int)? {
    switch self {
    case .integer, .character, .boolean, .floatingPoint, .enumeration:
      return size > 0 && offset % size != 0 ? (path, offset, size) : nil
    case .array(let element, let count):
      // The second element shows whether the stride is a multiple of the alignment.
      for index in 0..<min(count, 2) {
        let found = element.misalignedScalar(
          at: offset + index * element.size,
          path: "\(path)[\(index)]"
        )
        if let found { return found }
      }
      return nil
    case .structure(let layout), .union(let layout):
      for member in layout.members {
        let memberPath = path.isEmpty ? member.name : "\(path).\(member.name)"
        let found = member.type.misalignedScalar(at: offset + member.offset, path: memberPath)
        if let found { return found }
      }
      return nil
    case .opaque, .bitField, .unsupported:
      return nil
    }
  }
}

extension BPFError {
  /// Creates the error for a type that cannot be described as a layout.
  static func undescribed(_ object: String, _ advice: String) -> BPFError {
    BPFError(.layoutUndescribed, attempt: "describe the layout", on: object, advice: advice)
  }
}
