// SPDX-License-Identifier: Apache-2.0
public import LibBPF

extension ValueLayout {
  /// Checks that a Swift type matches the layout, as the creation of a ``TaskLocalStorage`` does.
  ///
  /// - Parameters:
  ///   - type: The Swift type.
  ///   - policy: The differences that are allowed.
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/layoutMismatch`` with a table in
  ///   ``BPFError/details``, or of kind ``BPFError/Kind/layoutUndescribed`` if the Swift type cannot
  ///   be described.
  public func check<Value: MapField>(
    _ type: Value.Type,
    policy: LayoutPolicy = .exact
  ) throws(BPFError) {
    try LayoutComparison(of: type, map: self.type, mapName: name, policy: policy).check(of: type)
  }
}
