// SPDX-License-Identifier: Apache-2.0
extension FieldType {
  /// The type as in a Swift declaration.
  var swiftWords: String {
    switch self {
    case .integer(let size, let signed): "\(signed ? "Int" : "UInt")\(size * 8)"
    case .character: "CChar"
    case .boolean: "Bool"
    case .floatingPoint(4): "Float"
    case .floatingPoint(8): "Double"
    case .floatingPoint(let size): "Float\(size * 8)"
    case .enumeration(let name, let size, let signed, _):
      name.isEmpty ? FieldType.integer(size: size, signed: signed).swiftWords : name
    case .array(let element, let count): "[\(count) of \(element.swiftWords)]"
    case .structure(let layout), .union(let layout): layout.name.isEmpty ? "struct" : layout.name
    case .opaque: "opaque"
    case .bitField, .unsupported: unsupported?.name ?? ""
    }
  }

  /// The type as in a C declaration.
  package var cWords: String {
    switch self {
    case .integer(let size, let signed): return "\(signed ? "s" : "u")\(size * 8)"
    case .character: return "char"
    case .boolean: return "bool"
    case .floatingPoint(let size): return "f\(size * 8)"
    case .enumeration(let name, let size, let signed, _):
      let number = FieldType.integer(size: size, signed: signed).cWords
      return name.isEmpty ? "enum (\(number))" : "enum \(name) (\(number))"
    case .array:
      var dimensions = ""
      var element = self
      while case .array(let inner, let count) = element {
        dimensions += "[\(count)]"
        element = inner
      }
      return element.cWords + dimensions
    case .structure(let layout): return layout.name.isEmpty ? "struct" : "struct \(layout.name)"
    case .union(let layout): return layout.name.isEmpty ? "union" : "union \(layout.name)"
    case .opaque: return "bytes"
    case .bitField, .unsupported: return unsupported?.name ?? ""
    }
  }

  /// The Swift type for this type of the map, or nil if it has no name.
  var suggestedSwift: String? {
    switch self {
    case .integer(let size, _) where size > 8, .floatingPoint(let size) where size > 8: nil
    case .structure, .union, .opaque, .bitField, .unsupported: nil
    case .enumeration(_, let size, let signed, _):
      FieldType.integer(size: size, signed: signed).suggestedSwift
    case .array(let element, let count): element.suggestedSwift.map { "[\(count) of \($0)]" }
    default: swiftWords
    }
  }
}

extension FieldType {
  /// The name of a type for which a hand-written Swift type has no field, and advice; nil for other
  /// types.
  package var unsupported: (name: String, advice: String)? {
    switch self {
    case .unsupported(let name, _, let advice):
      (name, advice)
    case .bitField(_, let width):
      (
        "bit-field of \(width) bit\(width == 1 ? "" : "s")",
        "use a whole integer, and masks to set and test its bits; or the type that BPFPlugin generates"
      )
    default:
      nil
    }
  }
}
