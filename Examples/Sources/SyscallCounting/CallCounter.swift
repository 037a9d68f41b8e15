// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// The BPF program that counts, loaded and attached. It is detached when this object is deallocated.
public final class CallCounter {
  /// The counters of each thread.
  public let counters: TaskLocalStorage<CallCounters>

  private let object: SyscallCounters

  /// Loads and attaches the program.
  public init() throws {
    object = try SyscallCounters.load()
    counters = try object.maps.callCounters
  }

  /// The number of calls that are not counted, because the kernel did not run the program. This happens since
  /// Linux 7, if a run of the program is preempted.
  public func missedCalls() throws -> UInt64 {
    try object.programs.countCall.loaded().recursionMisses()
  }
}
