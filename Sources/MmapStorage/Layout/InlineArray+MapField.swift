public import LibBPF

extension InlineArray: MapField where Element: MapField {
  /// An array of `count` elements; an array of arrays where the element is one.
  public static func fieldType() throws(BPFError) -> FieldType {
    .array(of: try Element.fieldType(), count: count)
  }
}

/// What the description of a structure needs of an `InlineArray` whose element does not conform.
protocol InlineArrayType {
  static var elementType: Any.Type { get }
  static var elementCount: Int { get }
}

extension InlineArray: InlineArrayType {
  static var elementType: Any.Type { Element.self }
  static var elementCount: Int { count }
}
