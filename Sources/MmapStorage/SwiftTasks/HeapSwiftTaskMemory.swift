// SPDX-License-Identifier: Apache-2.0
package import LibBPF

/// Slots in the memory of the process, which no program sees: for unit tests.
@safe
final class HeapSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer

  init(size: Int) {
    unsafe base = .allocate(byteCount: size, alignment: 64)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  }

  deinit { unsafe base.deallocate() }

  func hasExited(_ owner: UInt64) -> Bool { false }
}

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
