// SPDX-License-Identifier: Apache-2.0

extension ValueLayout {
  /// Returns a table of the differences between two layouts of C types; `nil` if there are none.
  package func differences(
    from other: ValueLayout,
    leftName: String,
    rightName: String
  ) -> String? {
    let comparison = LayoutComparison(
      swift: type,
      swiftName: "\(leftName): \(type.cWords)",
      map: other.type,
      mapName: rightName
    )
    return comparison.isMatch ? nil : comparison.tableOfCTypes
  }
}
