public import LibBPF

/// A structure that stands in a map: as the whole value, or as a field of one.
///
/// A structure of plain fields needs nothing but the name of the protocol; its layout is read by
/// reflection:
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
/// A property stands for the C field of the same name, or of its snake_case form: `requestID` is
/// `requestID` or `request_id`. Properties may be scalars (``MapScalar``), an `InlineArray`,
/// a homogeneous tuple, and other structures of those, whether or not they conform themselves.
///
/// A structure imported from a C header conforms in the same way; the names are then C's. Fixed
/// arrays, enumerations and nested structures are followed:
///
/// ```swift
/// extension request_tag: @retroactive MapValue {}
/// ```
///
/// Reflection does not see the inside of a C union, nor the members of an anonymous C structure,
/// and it does not know other names. ``fields-swift.type.property`` declares them with key paths:
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
/// The default is there for types that are `BitwiseCopyable`. Swift infers that for structures of
/// plain fields, but not for `public` ones, which have to say `MapValue, BitwiseCopyable`.
public protocol MapValue: MapField {
  /// The fields of the structure; read by reflection unless declared.
  @Fields<Self>.Builder static var fields: Fields<Self> { get }
}

extension MapValue {
  /// One declared field; see ``MapValue/fields-swift.type.property``.
  public typealias Field = Fields<Self>.Field

  /// The structure with its members.
  ///
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutUndescribed`` if a field cannot
  ///   be described, if bytes are left over that no field covers, or if a scalar is not aligned.
  /// - Complexity: O(*n*) in the number of fields and array elements; meant for opening a storage,
  ///   not for each access. May be called from any thread.
  public static func fieldType() throws(BPFError) -> FieldType {
    let type = try fields.fieldType()
    if let field = type.misalignedScalar() {
      throw .undescribed(
        "field '\(field.path)' of type \(Self.self)",
        "it stands at byte \(field.offset), which is not a multiple of its \(field.size) bytes, "
          + "so that no single load or store reaches it; align it on both sides, "
          + "or declare it with Field.opaque"
      )
    }
    return type
  }
}

extension MapValue where Self: BitwiseCopyable {
  /// The stored properties, by reflection.
  public static var fields: Fields<Self> { .reflected }
}

extension FieldType {
  /// The first scalar whose offset is not a multiple of its size, if there is one.
  func misalignedScalar(
    at offset: Int = 0,
    path: String = ""
  ) -> (path: String, offset: Int, size: Int)? {
    switch self {
    case .integer, .character, .boolean, .floatingPoint, .enumeration:
      return size > 0 && offset % size != 0 ? (path, offset, size) : nil
    case .array(let element, let count):
      // The second element shows a stride that does not fit.
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
    case .opaque, .unsupported:
      return nil
    }
  }
}

extension BPFError {
  /// The type cannot be described as a layout.
  static func undescribed(_ object: String, _ advice: String) -> BPFError {
    BPFError(.layoutUndescribed, attempt: "describe the layout", on: object, advice: advice)
  }
}
