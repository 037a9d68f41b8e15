// SPDX-License-Identifier: Apache-2.0

extension ValueLayout {
  /// Compares two layouts of C types field by field.
  ///
  /// - Parameters:
  ///   - other: The layout on the right side of the table.
  ///   - names: The names of the two sides, such as "object a.bpf.o".
  /// - Returns: A table with both layouts, a line for each field, and a mark at each difference; `nil`
  ///   if all fields have the same name, offset, size and kind.
  public func difference(
    from other: ValueLayout,
    names: (left: String, right: String)
  ) -> String? {
    let comparison = LayoutComparison(
      swift: type,
      swiftName: "\(names.left): \(type.cWords)",
      map: other.type,
      mapName: names.right
    )
    return comparison.isMatch ? nil : comparison.tableOfCTypes
  }
}
