// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization

/// Work with known costs, because it measures them with the thread's own clock or counts them.
public enum Work {
  /// Runs until the calling thread has used this much processor time.
  public static func burn(nanoseconds: UInt64) {
    let end = threadTime() + nanoseconds
    while threadTime() < end {
      // Reading the clock is a system call, so it is read rarely. A 'while' is also fast without
      // optimization.
      var state = end
      var round: UInt64 = 0
      while round < 20_000 {
        state = (state ^ round) &* 0x9e37_79b9_7f4a_7c15
        round += 1
      }
      result.store(state, ordering: .relaxed)
    }
  }

  /// The processor time of the calling thread.
  public static func threadTime() -> UInt64 { time(CLOCK_THREAD_CPUTIME_ID) }

  /// A monotonic clock.
  public static func now() -> UInt64 { time(CLOCK_MONOTONIC) }

  private static func time(_ clock: clockid_t) -> UInt64 {
    var time = timespec()
    clock_gettime(clock, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// Makes this many system calls of class `process`.
  public static func call(times: Int) {
    for _ in 0..<times { _ = getppid() }
  }

  /// Blocks the calling thread.
  public static func sleepBlocking(nanoseconds: Int) {
    var left = timespec(tv_sec: nanoseconds / 1_000_000_000, tv_nsec: nanoseconds % 1_000_000_000)
    var rest = timespec()
    while nanosleep(&left, &rest) != 0, errno == EINTR { left = rest }
  }

  /// Reads a file to its end.
  ///
  /// - Returns: The number of bytes; nil if it cannot be read.
  public static func read(_ path: String) -> Int? {
    let file = open(path, O_RDONLY | O_CLOEXEC)
    guard file >= 0 else { return nil }
    defer { close(file) }
    var total = 0
    return withUnsafeTemporaryAllocation(byteCount: 64 << 10, alignment: 16) { bytes in
      while true {
        let count = Glibc.read(file, bytes.baseAddress, bytes.count)
        if count < 0 { return nil }
        if count == 0 { return total }
        total += count
      }
    }
  }

  /// Prevents the compiler from removing the work.
  private static let result = Atomic<UInt64>(0)
}
