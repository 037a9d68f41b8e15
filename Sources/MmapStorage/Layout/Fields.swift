internal import LibBPF

/// The fields of a map's value, in the words of a ``MapValue``.
///
/// Written as a list in `static var fields: Fields<Self>`; see ``MapValue``.
public struct Fields<Value: MapValue> {
  private enum Source {
    case reflection
    case declaration([Field])
  }

  private var source: Source

  /// The stored properties under their own names, by reflection.
  public static var reflected: Fields { Fields(source: .reflection) }

  func fieldType() throws(BPFError) -> FieldType {
    switch source {
    case .reflection: try describeStructure(Value.self)
    case .declaration(let fields): try describeDeclared(fields)
    }
  }

  /// Collects the fields that are declared one a line.
  @resultBuilder
  public enum Builder {
    /// Takes one declared field.
    public static func buildExpression(_ field: Field) -> [Field] { [field] }

    /// Takes a ready list, such as ``Fields/reflected``.
    public static func buildExpression(_ fields: Fields) -> Fields { fields }

    /// Joins the declared fields.
    public static func buildBlock(_ fields: [Field]...) -> [Field] { fields.flatMap { $0 } }

    /// Passes a ready list on.
    public static func buildBlock(_ fields: Fields) -> Fields { fields }

    /// Makes the list.
    public static func buildFinalResult(_ fields: [Field]) -> Fields {
      Fields(source: .declaration(fields))
    }

    /// Passes a ready list on.
    public static func buildFinalResult(_ fields: Fields) -> Fields { fields }
  }
}

extension Fields {
  /// One field of a value: its C name and the property that it stands in.
  public struct Field {
    fileprivate enum Role {
      case field(name: String, describe: () throws(BPFError) -> FieldType)
      case padding
    }

    fileprivate var role: Role
    fileprivate var keyPath: AnyKeyPath
    fileprivate var offset: Int?
    fileprivate var size: Int
    fileprivate var alignment: Int

    private init<F>(_ role: Role, _ keyPath: KeyPath<Value, F>) {
      self.role = role
      self.keyPath = keyPath
      offset = MemoryLayout<Value>.findFieldOffset(of: keyPath)
      size = MemoryLayout<F>.size
      alignment = MemoryLayout<F>.alignment
    }

    /// Declares a property that is the C field `name`.
    ///
    /// The property may be anything that reflection can describe: a ``MapField``, a homogeneous
    /// tuple, or a structure of those. The key path may lead into nested structures and to a member
    /// of an anonymous C structure or union.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path such as "header.kind" for a member of a nested
    ///     structure or of a named union.
    ///   - keyPath: The stored property, or imported member, of the value.
    public init<F>(_ name: String, _ keyPath: KeyPath<Value, F>) {
      self.init(.field(name: name) { () throws(BPFError) in try describe(F.self) }, keyPath)
    }

    /// Declares a property that is the C array `name` of `count` elements, whatever Swift has it
    /// imported as.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path.
    ///   - keyPath: The stored property, or imported member, of the value.
    ///   - element: What each element is; itself an `InlineArray` for an array of arrays.
    ///   - count: How many there are. Together they take as many bytes as the property does.
    public init<F, Element: MapField>(
      _ name: String,
      _ keyPath: KeyPath<Value, F>,
      arrayOf element: Element.Type,
      count: Int
    ) {
      let role = Role.field(name: name) { () throws(BPFError) in
        let type = FieldType.array(of: try element.fieldType(), count: max(0, count))
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

    /// Declares a property whose bytes are not described, on purpose: the map's field `name` may be
    /// anything of the same size.
    ///
    /// - Parameters:
    ///   - name: The C name, or a dotted path.
    ///   - keyPath: The stored property of the value.
    /// - Returns: The field, for the list in ``MapValue/fields-swift.type.property``.
    public static func opaque<F>(_ name: String, _ keyPath: KeyPath<Value, F>) -> Field {
      Field(
        .field(name: name) { () throws(BPFError) in .opaque(size: MemoryLayout<F>.size) },
        keyPath
      )
    }

    /// Declares a property whose bytes are padding in C, so that there is no field to compare.
    ///
    /// - Parameter keyPath: The stored property of the value.
    /// - Returns: The padding, for the list in ``MapValue/fields-swift.type.property``.
    public static func padding<F>(_ keyPath: KeyPath<Value, F>) -> Field {
      Field(.padding, keyPath)
    }
  }

  private func describeDeclared(_ fields: [Field]) throws(BPFError) -> FieldType {
    guard _isPOD(Value.self) else {
      throw .undescribed(
        "type \(Value.self)",
        "it holds references; a map's value is plain bytes of a fixed size"
      )
    }
    var members: [CompositeLayout.Member] = []
    var covered: [(range: Range<Int>, alignment: Int)] = []
    for field in fields {
      guard let offset = field.offset else {
        throw .undescribed(
          "\(field.keyPath)",
          "it is a computed property or a bit-field and has no bytes of its own; name a stored "
            + "property"
        )
      }
      covered.append((offset..<offset + field.size, field.alignment))
      guard case .field(let name, let describe) = field.role else { continue }
      guard !name.isEmpty,
        !name.split(separator: ".", omittingEmptySubsequences: false).contains("")
      else {
        throw .undescribed("\(field.keyPath)", "'\(name)' is not the name of a C field")
      }
      guard !members.contains(where: { $0.name == name }) else {
        throw .undescribed("type \(Value.self)", "field '\(name)' is declared twice")
      }
      let type = try naming("field '\(name)' of type \(Value.self)", describe)
      members.append(.init(name: name, offset: offset, type: type))
    }
    try checkCompleteness(of: covered)
    return .structure(
      CompositeLayout(
        name: "\(Value.self)",
        size: MemoryLayout<Value>.stride,
        members: members
      )
    )
  }

  /// Every stored byte must be declared. What reflection shows is looked up by name; the rest must
  /// be holes that alignment explains.
  private func checkCompleteness(
    of covered: [(range: Range<Int>, alignment: Int)]
  ) throws(BPFError) {
    var parts = StoredParts()
    for property in storedProperties(of: Value.self) { parts.add(property, base: 0, path: "") }
    let declared = covered.map(\.range)
    for part in parts.scalars {
      guard let byte = part.range.first(where: { byte in !declared.contains { $0 ~= byte } })
      else { continue }
      throw .undescribed(
        "type \(Value.self)",
        "byte \(byte), which belongs to the property '\(part.path)', is not declared; add it to "
          + "'fields', or Field.padding if C has no field there"
      )
    }
    // Of a union one alternative is enough.
    let unions = parts.unions.filter { union in declared.contains { $0.overlaps(union) } }
    if let gap = firstGap(in: Value.self, covered: covered, holes: parts.holes + unions) {
      throw .undescribed(
        "type \(Value.self)",
        "bytes \(gap.lowerBound) to \(gap.upperBound - 1) are not declared; add their property to "
          + "'fields', or Field.padding if C has no field there"
      )
    }
  }
}

/// What a structure is made of, as far as reflection shows it.
private struct StoredParts {
  var scalars: [(path: String, range: Range<Int>)] = []
  var holes: [Range<Int>] = []
  /// Properties that have bytes and show nothing of what is in them.
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
      holes.append(end..<range.lowerBound)
      end = range.upperBound
    }
    holes.append(end..<max(end, start + property.size))
    if case .structure = type, !inner.isEmpty {
      for part in inner { add(part, base: start, path: path) }
    } else {
      scalars += ranges.map { (path, $0) }
    }
  }
}
