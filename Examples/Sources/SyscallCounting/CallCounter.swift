// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// The BPF program that counts, loaded and attached; it stops when this goes away.
public final class CallCounter {
  /// The counters of each thread.
  public let counters: TaskLocalStorage<CallCounters>

  /// Loads and attaches the program.
  public init() throws {
    counters = try SyscallCounters.load().maps.callCounters
  }
}
