// SPDX-License-Identifier: Apache-2.0
/// Records which bytes of a structure belong to fields.
package struct Coverage {
  private var isCovered: [Bool]
  private let alignment: Int
  /// The alignments of the fields that begin at an offset.
  private var alignments: [Int: [Int]] = [:]

  package init(size: Int, alignment: Int) {
    isCovered = [Bool](repeating: false, count: size)
    self.alignment = alignment
  }

  /// Adds a field.
  package mutating func add(_ range: Range<Int>, alignment: Int) {
    addHole(range)
    alignments[range.lowerBound, default: []].append(alignment)
  }

  /// Adds bytes that need no field.
  mutating func addHole(_ range: Range<Int>) {
    for byte in range.clamped(to: isCovered.indices) { isCovered[byte] = true }
  }

  func covers(_ byte: Int) -> Bool { isCovered.indices.contains(byte) && isCovered[byte] }

  /// The first bytes that are not covered and that alignment does not explain.
  ///
  /// A hole before a field is explained if it ends at the next multiple of the field's alignment, and
  /// a hole at the end if it ends at the next multiple of the structure's.
  package func firstGap() -> Range<Int>? {
    var start = 0
    while let from = isCovered[start...].firstIndex(of: false) {
      let end = isCovered[from...].firstIndex(of: true) ?? isCovered.count
      var explaining = alignments[end] ?? []
      if end == isCovered.count { explaining.append(alignment) }
      guard explaining.contains(where: { (from + $0 - 1) / $0 * $0 == end }) else {
        return from..<end
      }
      start = end
    }
    return nil
  }
}
