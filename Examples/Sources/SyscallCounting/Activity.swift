// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// A system call that a worker repeats.
public enum Activity: Sendable {
  case reading, asking, yielding, sleeping

  /// The class to which the program assigns the call.
  public var callClass: CallClass {
    switch self {
    case .reading: .file
    case .asking: .process
    case .yielding: .scheduler
    case .sleeping: .time
    }
  }

  /// Makes the call.
  func perform(on file: FileDescriptor) {
    switch self {
    case .reading:
      var byte: UInt8 = 0
      _ = read(file.rawValue, &byte, 1)
    case .asking:
      _ = getppid()
    case .yielding:
      _ = sched_yield()
    case .sleeping:
      var short = timespec(tv_sec: 0, tv_nsec: 1)
      _ = clock_nanosleep(CLOCK_MONOTONIC, 0, &short, nil)
    }
  }
}
