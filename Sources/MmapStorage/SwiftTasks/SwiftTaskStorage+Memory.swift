// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues

extension SwiftTaskStorage {
  /// A storage whose slots are in the caller's memory instead of a map.
  ///
  /// - Parameters:
  ///   - count: The number of slots, at most 2^24.
  ///   - allocate: Returns zeroed memory of this size in bytes, aligned to 64 bytes.
  package convenience init(slots count: Int, in allocate: (_ size: Int) -> any SwiftTaskMemory) {
    let stride = (SwiftTaskSlots.valueOffset + MemoryLayout<Value>.size + 63) / 64 * 64
    self.init(
      SwiftTaskSlots(
        allocate(stride * count),
        stride: stride,
        count: count,
        valueSize: MemoryLayout<Value>.size,
        owner: 1
      )
    )
  }

  /// Compares `Value` with the declaration in an object, which need not be loaded.
  package static func checkLayout(
    of object: BPFObject,
    _ name: String,
    policy: LayoutPolicy
  ) throws(BPFError) {
    let layout = try object.layout(ofMap: name)
    try checkLayout(try slotValue(of: layout, in: "map '\(name)'"), map: name, policy: policy)
  }
}
