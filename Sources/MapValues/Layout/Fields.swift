// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// The fields of a map's value, as declared by a ``MapValue``.
///
/// Written as a list in `static var fields: Fields<Self>`; see ``MapValue``.
public struct Fields<Value: MapValue> {
  private enum Source {
    case reflection
    case declaration([Field])
    case generated(FieldType)
  }

  private var source: Source

  /// The stored properties with their names, found by reflection.
  package static var reflected: Fields { Fields(source: .reflection) }

  /// The layout that `BPFPlugin` generated, with the layouts of all nested structures.
  @_spi(Generated)
  public static func generated(_ layout: FieldLayout) -> Fields {
    Fields(source: .generated(layout.type))
  }

  /// Whether the layout is that of a C declaration, where a packed structure has scalars at any byte.
  var isGenerated: Bool {
    if case .generated = source { true } else { false }
  }

  func description() throws(BPFError) -> FieldType {
    switch source {
    case .generated(let type):
      guard type.size == MemoryLayout<Value>.stride, type.size == MemoryLayout<Value>.size else {
        throw .undescribed(
          "type \(Value.self)",
          "it has \(MemoryLayout<Value>.size) bytes, and its layout \(type.size); build the package again"
        )
      }
      return type
    case .reflection:
      return try describeStructure(Value.self)
    case .declaration(let fields):
      return try describeDeclared(fields)
    }
  }

  /// Collects the declared fields.
  @resultBuilder
  public enum Builder {
    /// Adds a field.
    public static func buildExpression(_ field: Field) -> Field { field }

    /// Accepts a complete list, which only generated code has.
    @_spi(Generated)
    public static func buildExpression(_ fields: Fields) -> Fields { fields }

    /// Creates the list from the declared fields.
    public static func buildBlock(_ fields: Field...) -> Fields {
      Fields(source: .declaration(fields))
    }

    /// Returns a complete list.
    @_spi(Generated)
    public static func buildBlock(_ fields: Fields) -> Fields { fields }
  }
}

extension Fields {
  /// One field of a value: its C name and its property.
  public struct Field {
    fileprivate enum Role {
      case field(name: String, describe: () throws(BPFError) -> FieldType)
      case padding
    }

    fileprivate var role: Role
    /// The property's name in errors.
    fileprivate var subject: String
    fileprivate var isWholeValue = false
    fileprivate var range: Range<Int>?
    fileprivate var alignment: Int

    private init<F>(_ role: Role, _ keyPath: KeyPath<Value, F>) {
      self.role = role
      subject = "\(keyPath)"
      isWholeValue = F.self == Value.self
      alignment = MemoryLayout<F>.alignment
      if !isWholeValue, let offset = MemoryLayout<Value>.findFieldOffset(of: keyPath) {
        range = offset..<offset + MemoryLayout<F>.size
      }
    }

    private init(paddingAt bytes: Range<Int>) {
      role = .padding
      subject = "padding at bytes \(bytes.lowerBound) to \(bytes.upperBound - 1)"
      alignment = 1
      let size = MemoryLayout<Value>.stride
      range = bytes.lowerBound >= 0 && bytes.upperBound <= size && !bytes.isEmpty ? bytes : nil
    }

    /// Declares the property for the C field `name`.
    ///
    /// The type of the property is a ``MapField``, a homogeneous tuple, or a structure of those. The
    /// key path may contain nested structures, and may refer to a member of an anonymous C structure or
    /// union.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path such as "header.kind" for a member of a nested
    ///     structure or of a named union.
    ///   - keyPath: The stored property, or imported member, of the value.
    public init<F>(_ name: String, _ keyPath: KeyPath<Value, F>) {
      self.init(.field(name: name) { () throws(BPFError) in try describe(F.self) }, keyPath)
    }

    /// Declares the property for the C array `name` of `count` elements, regardless of the imported Swift
    /// type.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path.
    ///   - keyPath: The stored property, or imported member, of the value.
    ///   - element: The type of each element. It is an `InlineArray` for an array of arrays.
    ///   - count: The number of elements. Together they have the size of the property.
    public init<F, Element: MapField>(
      _ name: String,
      _ keyPath: KeyPath<Value, F>,
      arrayOf element: Element.Type,
      count: Int
    ) {
      let role = Role.field(name: name) { () throws(BPFError) in
        // The whole property is loaded as an F, for which all bit patterns must be valid.
        _ = try booleansOfOpaque(F.self)
        let type = FieldType.array(of: try describe(element), count: max(0, count))
        guard type.size == MemoryLayout<F>.size, count > 0 else {
          throw .undescribed(
            "type \(F.self)",
            "it has \(MemoryLayout<F>.size) bytes, and \(count) elements of \(element) have "
              + "\(type.size); correct the count or the element"
          )
        }
        return type
      }
      self.init(role, keyPath)
    }

    /// Declares a property whose type is not compared: the map's field `name` may have any type of the
    /// same size.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path.
    ///   - keyPath: The stored property of the value. Every bit pattern must be valid for its
    ///     type. A Swift `enum`, for example, is not allowed.
    /// - Returns: The field, for the list in ``MapValue/fields-swift.type.property``.
    public static func opaque<F>(_ name: String, _ keyPath: KeyPath<Value, F>) -> Field {
      Field(
        .field(name: name) { () throws(BPFError) in
          .opaque(size: MemoryLayout<F>.size, booleans: try booleansOfOpaque(F.self))
        },
        keyPath
      )
    }

    /// Declares a property for padding in C. It is not compared with a field.
    ///
    /// - Parameter keyPath: The stored property of the value.
    /// - Returns: The padding, for the list in ``MapValue/fields-swift.type.property``.
    public static func padding<F>(_ keyPath: KeyPath<Value, F>) -> Field {
      Field(.padding, keyPath)
    }

    /// Declares bytes of an imported C structure that belong to no property: padding, or an unnamed
    /// bit-field.
    ///
    /// - Parameter bytes: The offsets of the bytes, from the start of the value.
    /// - Returns: The padding, for the list in ``MapValue/fields-swift.type.property``.
    public static func padding(bytes: Range<Int>) -> Field { Field(paddingAt: bytes) }
  }

  private func describeDeclared(_ fields: [Field]) throws(BPFError) -> FieldType {
    var members: [CompositeLayout.Member] = []
    var names: Set<String> = []
    var coverage = Coverage(
      size: MemoryLayout<Value>.size,
      alignment: MemoryLayout<Value>.alignment
    )
    for field in fields {
      guard !field.isWholeValue else {
        throw .undescribed(
          "\(field.subject)",
          "it is the whole value and not a field of it; name its properties one by one"
        )
      }
      guard let range = field.range else {
        throw .undescribed(
          "\(field.subject)",
          "it is a computed property, a bit-field, or outside of the value, and has no bytes of its "
            + "own; name a stored property"
        )
      }
      coverage.add(range, alignment: field.alignment)
      guard case .field(let name, let describe) = field.role else { continue }
      guard !name.isEmpty,
        !name.split(separator: ".", omittingEmptySubsequences: false).contains("")
      else {
        throw .undescribed("\(field.subject)", "'\(name)' is not the name of a C field")
      }
      guard names.insert(name).inserted else {
        throw .undescribed("type \(Value.self)", "field '\(name)' is declared twice")
      }
      let type = try naming("field '\(name)' of type \(Value.self)", describe)
      members.append(.init(name: name, offset: range.lowerBound, type: type))
    }
    try checkCompleteness(of: coverage)
    return .structure(
      CompositeLayout(
        name: "\(Value.self)",
        size: MemoryLayout<Value>.stride,
        members: members
      )
    )
  }

  /// Checks that every stored byte is declared. Properties that reflection finds are reported by
  /// name. The other bytes must be holes that alignment explains.
  private func checkCompleteness(of declared: Coverage) throws(BPFError) {
    var parts = StoredParts()
    for property in storedProperties(of: Value.self) { parts.add(property, base: 0, path: "") }
    for part in parts.scalars {
      guard let byte = part.range.first(where: { !declared.covers($0) }) else { continue }
      throw .undescribed(
        "type \(Value.self)",
        "byte \(byte), which belongs to the property '\(part.path)', is not declared; add it to "
          + "'fields', or declare it with Field.padding if C has no field there"
      )
    }
    var coverage = declared
    for hole in parts.holes { coverage.addHole(hole) }
    // One alternative of a union is sufficient.
    for union in parts.unions where union.contains(where: declared.covers) {
      coverage.addHole(union)
    }
    if let gap = coverage.firstGap() {
      throw .undescribed(
        "type \(Value.self)",
        "bytes \(gap.lowerBound) to \(gap.upperBound - 1) are not declared; add the members of the "
          + "C union or the anonymous C structure there to 'fields', or "
          + "Field.padding(bytes: \(gap.lowerBound)..<\(gap.upperBound)) if C has padding or an "
          + "unnamed bit-field there"
      )
    }
  }
}

/// The parts of a structure that reflection finds.
private struct StoredParts {
  var scalars: [(path: String, range: Range<Int>)] = []
  var holes: [Range<Int>] = []
  /// Properties that have bytes but no visible parts.
  var unions: [Range<Int>] = []

  mutating func add(_ property: StoredProperty, base: Int, path: String) {
    let path = path.isEmpty ? property.name : "\(path).\(property.name)"
    let start = base + property.offset
    let inner = storedProperties(of: property.type)
    guard let type = try? describe(property.type) else {
      if inner.isEmpty { unions.append(start..<start + property.size) }
      for part in inner { add(part, base: start, path: path) }
      return
    }
    let ranges = scalarRanges(of: type).map { start + $0.lowerBound..<start + $0.upperBound }
    var end = start
    for range in ranges {
      if end < range.lowerBound { holes.append(end..<range.lowerBound) }
      end = max(end, range.upperBound)
    }
    if end < start + property.size { holes.append(end..<start + property.size) }
    if case .structure = type, !inner.isEmpty {
      for part in inner { add(part, base: start, path: path) }
    } else {
      scalars += ranges.map { (path, $0) }
    }
  }
}
