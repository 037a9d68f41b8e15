public import LibBPF

/// A Swift type and a map's value type next to each other, field by field.
///
/// The comparison knows no map and no descriptor; it takes two descriptions, and may be used on any
/// thread.
///
/// Two fields match if they have the same name, offset, size and kind:
///
/// - A Swift name matches the same C name, or its snake_case form (`requestID`, `request_id`).
/// - A C enumeration is a whole number of the same size and sign. C's `char` is a whole number of
///   one byte, signed or not. `bool` is only `Bool`.
/// - Arrays have the same length and nest in the same way; structures in them match by member. A C
///   array of one element also matches the element itself, because that is how Swift imports it.
/// - Nested structures match by member, not by tag. Members of anonymous ones stand in the parent,
///   as they do in C.
/// - Of a C union, Swift needs one alternative, whole; the others are left aside.
/// - A pointer, lock, timer, bit-field and the like never match, unless Swift declares the bytes
///   as opaque. Opaque bytes match anything of the same size.
public struct LayoutComparison: Sendable {
  /// In what respect a row's two sides differ.
  public enum Difference: Sendable, Hashable, CaseIterable {
    /// Other names for what stands at the same place.
    case name
    /// The field starts at another byte.
    case offset
    /// The field has another number of bytes.
    case size
    /// Whole numbers, one signed and the other not.
    case sign
    /// Something else altogether: a number and a structure, an array and an array of arrays.
    case kind
    /// Arrays of different lengths.
    case length
    /// The map has the field, Swift does not.
    case missing
    /// Swift has the field, the map does not.
    case extra
    /// The map has something there that Swift cannot hold.
    case unsupported
  }

  /// One side of a row.
  public struct Side: Sendable, Hashable {
    /// The name with those of the structures around it, such as "header.kind". A member of an array
    /// element is "points[].x". Empty for the whole value.
    public var name: String
    /// Bytes from the start of the value; for a member of an array element, from that element's.
    public var offset: Int
    /// Bytes.
    public var size: Int
    /// The type in the words of this side: `UInt32` in Swift, `u32` in the map.
    public var type: String
  }

  /// One field on both sides, or on the only one that has it.
  public struct Row: Sendable, Hashable {
    /// The field in Swift, if it is there.
    public var swift: Side?
    /// The field in the map, if it is there.
    public var map: Side?
    /// In what they differ; empty if they match.
    public var differences: Set<Difference>
    /// Which line to change, and how; empty if they match.
    public var hint: String
  }

  /// The Swift type's name.
  public let swiftName: String
  /// The map's name.
  public let mapName: String
  /// The name of the map's value type, such as "struct request_tag".
  public let mapTypeName: String
  /// How much the map may have that Swift does not know.
  public let policy: LayoutPolicy
  private let swift: FieldType
  private let map: FieldType

  /// Compares two descriptions.
  ///
  /// - Parameters:
  ///   - swift: The Swift side, from ``MapField/fieldType()``.
  ///   - swiftName: The name of the Swift type, for the table.
  ///   - map: The map's side, from its BTF.
  ///   - mapName: The name of the map, such as "request_tags", for the table and the error.
  ///   - policy: How much the map may have that Swift does not know.
  public init(
    swift: FieldType,
    swiftName: String,
    map: FieldType,
    mapName: String,
    policy: LayoutPolicy = .exact
  ) {
    self.swiftName = swiftName
    self.mapName = mapName
    self.policy = policy
    mapTypeName = map.cWords
    self.swift = swift
    self.map = map
  }

  /// Compares a Swift type with a description of the map's value.
  ///
  /// - Parameters:
  ///   - type: The Swift type.
  ///   - map: The map's side, from its BTF.
  ///   - mapName: The name of the map, such as "request_tags", for the table and the error.
  ///   - policy: How much the map may have that Swift does not know.
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutUndescribed`` if the Swift type
  ///   cannot be described.
  public init<Value: MapField>(
    of type: Value.Type,
    map: FieldType,
    mapName: String,
    policy: LayoutPolicy = .exact
  ) throws(BPFError) {
    self.init(
      swift: try type.fieldType(),
      swiftName: "\(type)",
      map: map,
      mapName: mapName,
      policy: policy
    )
  }

  /// All fields in the order of their offsets, and the size of the whole value last.
  ///
  /// - Complexity: O(*n*) in the number of fields, squared within one structure, at each call.
  public var rows: [Row] { LayoutMatcher(swift: swift, map: map, policy: policy).rows() }

  /// The rows whose sides differ.
  public var mismatches: [Row] { rows.filter { !$0.differences.isEmpty } }

  /// Whether the map may be used with the Swift type.
  ///
  /// - Complexity: O(*n*) in the number of fields if they stand in the same order on both sides,
  ///   else as of ``rows``.
  public var isMatch: Bool {
    swift.matchesInOrder(map) || rows.allSatisfy(\.differences.isEmpty)
  }

  /// Throws unless the two sides match.
  ///
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutMismatch``, with the table in its
  ///   details.
  public func check() throws(BPFError) {
    if isMatch { return }
    let count = mismatches.count
    throw BPFError(
      .layoutMismatch,
      attempt: "use Swift type '\(swiftName)' as the value",
      on: "map '\(mapName)'",
      advice: "the layouts differ in \(count) \(count == 1 ? "row" : "rows"), marked '!' below",
      details: table
    )
  }
}
