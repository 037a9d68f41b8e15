// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// `struct counters` of baselines.h and values.bpf.c.
package struct Counters: MapValue, BitwiseCopyable {
  package var a: UInt64 = 0
  package var b: UInt64 = 0
  package var c: UInt32 = 0
  package var d: UInt32 = 0
  package var e: UInt16 = 0
  package var f: UInt16 = 0
  package var g: UInt8 = 0
  package var h: UInt8 = 0
  package var reserved: UInt16 = 0
  package var more: InlineArray<4, UInt64> = .init(repeating: 0)
}
