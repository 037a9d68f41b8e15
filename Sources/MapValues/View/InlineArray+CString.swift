// SPDX-License-Identifier: Apache-2.0
extension InlineArray where Element: MapScalar & FixedWidthInteger {
  /// Returns the text of a C `char` array in a copied value, up to its NUL or its end. Replaces bytes
  /// that are not UTF-8.
  ///
  /// - Precondition: An element has one byte.
  public func copyString() -> String {
    precondition(MemoryLayout<Element>.size == 1, "a C string consists of bytes")
    let bytes = indices.lazy.map { UInt8(truncatingIfNeeded: self[$0]) }
    return String(decoding: bytes.prefix { $0 != 0 }, as: UTF8.self)
  }
}
