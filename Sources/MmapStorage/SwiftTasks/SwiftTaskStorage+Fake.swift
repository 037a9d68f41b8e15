// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues

extension SwiftTaskStorage {
  /// A storage without a map, for the test library.
  package convenience init(fakeWith count: Int) {
    let stride = (SwiftTaskSlots.valueOffset + MemoryLayout<Value>.size + 63) / 64 * 64
    self.init(
      SwiftTaskSlots(
        HeapSwiftTaskMemory(size: stride * count),
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
