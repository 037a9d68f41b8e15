// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues

extension SwiftTaskStorage {
  /// A storage whose slots are in memory of the caller's, and not in a map.
  ///
  /// - Parameters:
  ///   - count: The number of slots, at most 2^24.
  ///   - allocate: Returns memory of this size, in bytes, which is zero and aligned to 64 bytes.
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

  /// Compares `Value` with what an object declares; the object need not be loaded.
  package static func checkLayout(
    of object: BPFObject,
    _ name: String,
    policy: LayoutPolicy
  ) throws(BPFError) {
    let layout = try object.layout(ofMap: name)
    try checkLayout(try slotValue(of: layout, in: "map '\(name)'"), map: name, policy: policy)
  }
}
