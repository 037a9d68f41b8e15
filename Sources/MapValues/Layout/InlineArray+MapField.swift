// SPDX-License-Identifier: Apache-2.0
extension InlineArray: MapField where Element: MapField {}

/// The parts of an `InlineArray` type whose element type is not known statically.
protocol InlineArrayType {
  static var elementType: Any.Type { get }
  static var elementCount: Int { get }
}

extension InlineArray: InlineArrayType {
  static var elementType: Any.Type { Element.self }
  static var elementCount: Int { count }
}
