// SPDX-License-Identifier: Apache-2.0
package import LibBPF

/// A comparison of a Swift type with a map's value type, field by field.
///
/// Two fields match if they have the same name, offset, size and kind:
///
/// - A Swift name matches the same C name, or its snake_case form (`requestID`, `request_id`).
/// - A C enumeration is an integer of the same size and sign. C's `char` is an integer of one byte,
///   signed or not. `bool` is `Bool`.
/// - Arrays have the same length and nest in the same way. Structures in them match by member. A C
///   array of one element also matches the element itself, because Swift imports it so.
/// - Nested structures match by member, not by tag. Members of anonymous ones belong to the parent,
///   as in C.
/// - For a C union, Swift needs one complete alternative.
/// - Pointers, locks, timers, bit-fields and the like never match, unless Swift declares the bytes
///   as opaque. Opaque bytes match anything of the same size.
package struct LayoutComparison: Sendable {
  /// A respect in which the two sides of a row differ.
  package enum Difference: Sendable, Hashable, CaseIterable {
    /// The fields at the same offset have different names.
    case name
    /// The offset.
    case offset
    /// The size in bytes.
    case size
    /// Only one of two integers is signed.
    case sign
    /// Different kinds of types, such as an integer and a structure.
    case kind
    /// The lengths of arrays.
    case length
    /// Only the map has the field.
    case missing
    /// Only Swift has the field.
    case extra
    /// The map's type is one that Swift has no field for.
    case unsupported
  }

  /// One side of a row.
  package struct Side: Sendable, Hashable {
    /// The name with those of the enclosing structures, such as "header.kind". A member of an array
    /// element is "points[].x". Empty for the whole value.
    package var name: String
    /// The offset in bytes from the start of the value, or of the array element.
    package var offset: Int
    /// The size in bytes.
    package var size: Int
    /// The type as this side spells it: `UInt32` in Swift, `u32` in the map.
    package var type: String
    /// The type as C spells it.
    package var cType = ""
  }

  /// A field on both sides, or on the only one that has it.
  package struct Row: Sendable, Hashable {
    /// The field in Swift, or nil.
    package var swift: Side?
    /// The field in the map, or nil.
    package var map: Side?
    /// The differences; empty if the sides match.
    package var differences: Set<Difference>
    /// The advice on what to change; empty if the sides match.
    package var hint: String
  }

  /// The Swift type's name.
  package let swiftName: String
  /// The map's name.
  package let mapName: String
  /// The name of the map's value type, such as "struct request_tag".
  package let mapTypeName: String
  /// How much the map may differ.
  package let policy: LayoutPolicy
  private let swift: FieldType
  private let map: FieldType

  /// Compares two descriptions.
  ///
  /// - Parameters:
  ///   - swift: The Swift side, from `MapField.fieldType()`.
  ///   - swiftName: The name of the Swift type, for the table.
  ///   - map: The map's side, from its BTF.
  ///   - mapName: The name of the map, such as "request_tags", for the table and the error.
  ///   - policy: How much the map may differ.
  package init(
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
  ///   - policy: How much the map may differ.
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutUndescribed`` if the Swift type
  ///   cannot be described.
  package init<Value: MapField>(
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

  /// All fields in the order of their offsets, followed by the size of the whole value.
  ///
  /// - Complexity: O(*n* log *n*) in the number of fields, at each call.
  package var rows: [Row] { LayoutMatcher(swift: swift, map: map, policy: policy).rows() }

  /// The rows whose sides differ.
  package var mismatches: [Row] { rows.filter { !$0.differences.isEmpty } }

  /// Whether the map may be used with the Swift type.
  ///
  /// - Complexity: O(*n*) in the number of fields if both sides have them in the same order, otherwise
  ///   as for `rows`.
  package var isMatch: Bool {
    swift.matchesInOrder(map) || rows.allSatisfy(\.differences.isEmpty)
  }

  /// Throws an error unless the two sides match.
  ///
  /// - Parameters:
  ///   - type: The Swift type. A generated type cannot be changed, so the table has other advice for it.
  ///   - part: What the type describes, for the error.
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutMismatch``, with the table in its
  ///   details.
  package func check(
    of type: (any MapField.Type)? = nil,
    as part: String = "the value"
  ) throws(BPFError) {
    if swift.matchesInOrder(map) { return }
    var rows = rows
    let count = rows.count { !$0.differences.isEmpty }
    if count == 0 { return }
    if (type as? any MapValue.Type)?.isGenerated == true {
      for index in rows.indices { rows[index].hint = "" }
      rows[0].hint =
        "'\(swiftName)' is generated: build this process with the source of the program that created "
        + "the map, or create the map again"
    }
    throw BPFError(
      .layoutMismatch,
      attempt: "use Swift type '\(swiftName)' as \(part)",
      on: "map '\(mapName)'",
      advice: "the layouts differ in \(count) \(count == 1 ? "row" : "rows"), marked '!' below",
      details: table(of: rows)
    )
  }
}

extension MapValue {
  fileprivate static var isGenerated: Bool { fields.isGenerated }
}
