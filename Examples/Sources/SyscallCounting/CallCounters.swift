// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// What the program counts about a thread: `struct call_counters`.
public struct CallCounters: MapValue, BitwiseCopyable {
  /// All calls, by class.
  public var seen: InlineArray<6, UInt64>
  /// One in ``sampling`` of them.
  public var sampled: InlineArray<6, UInt64>
  /// Set by the thread; 0 counts nothing.
  public var sampling: UInt32
  /// The number of the last system call.
  public var lastCall: UInt32
}
