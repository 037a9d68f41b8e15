// SPDX-License-Identifier: Apache-2.0

extension InlineArray where Element: MapScalar & FixedWidthInteger {
  /// Returns the text of a C `char` array in a copied value, up to its NUL or its end. Replaces bytes
  /// that are not UTF-8.
  ///
  /// - Precondition: An element has one byte.
  public func copyString() -> String { textOfCString(count: count) { self[$0] } }
}

/// The text of a C `char` array, up to its NUL or its end.
func textOfCString<Element: FixedWidthInteger>(
  count: Int,
  _ element: (Int) -> Element
) -> String {
  precondition(MemoryLayout<Element>.size == 1, "a C string consists of bytes")
  var bytes: [UInt8] = []
  for index in 0..<count {
    let byte = UInt8(truncatingIfNeeded: element(index))
    if byte == 0 { break }
    bytes.append(byte)
  }
  return String(decoding: bytes, as: UTF8.self)
}
