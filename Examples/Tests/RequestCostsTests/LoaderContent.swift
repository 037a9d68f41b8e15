// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct loader`, as any process with write access to the map may write it.
struct LoaderContent: MapValue, BitwiseCopyable {
  var version: UInt64 = 0
  var leftOut: UInt64 = 0
  var missedRuns: UInt64 = 0
  var updated = monotonicTime()

  /// Of a loader that has not responded for ten seconds.
  static var ofKilledLoader: Self { Self(version: 1, updated: monotonicTime() - 11_000_000_000) }
}

/// CLOCK_MONOTONIC in nanoseconds.
func monotonicTime() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}
