// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF

/// Detects which processes that own slots have exited.
///
/// An owner is the result of `__swift_task_owner()` of swift_task_storage.bpf.h: the process id,
/// and the lower half of the process's start time in nanoseconds of the monotonic clock, plus a small
/// number that `exec` increments.
package struct SwiftTaskOwners: Sendable {
  private let own: UInt64
  private let seesAllProcesses: Bool
  private let comparesStarts: Bool

  /// - Parameter owner: The owner word of this process.
  package init(own owner: UInt64) {
    own = owner
    // The owner contains the process id in the initial PID namespace. In other namespaces, ids of
    // other processes cannot be compared with it.
    seesAllProcesses = owner >> 32 == UInt64(getpid())
    // In a child time namespace, `/proc` may show other times.
    comparesStarts = seesAllProcesses && ProcessState(getpid())?.isStart(of: owner) == true
  }

  /// Whether the process is known to have exited: it does not exist, it is a zombie, or its id
  /// belongs to a later process. Also if this process called `exec` meanwhile.
  ///
  /// Costs a system call for a process that no longer exists, and about ten microseconds otherwise.
  package func hasExited(_ owner: UInt64) -> Bool {
    if owner >> 32 == own >> 32 { return owner != own }
    guard seesAllProcesses, let process = pid_t(exactly: owner >> 32), process > 0 else {
      return false
    }
    if kill(process, 0) != 0, Glibc.errno == ESRCH { return true }
    // Other processes may be hidden (hidepid=).
    guard let state = ProcessState(process) else { return false }
    return state.hasExited || (comparesStarts && clocksAgree() && !state.isStart(of: owner))
  }
}

/// The state of a process in `/proc/PID/stat`.
private struct ProcessState {
  private let letter: Substring
  private let threadCount: Int
  /// In ticks of the boot-time clock, which includes suspend.
  private let start: UInt64

  /// `nil` if it cannot be read.
  init?(_ process: pid_t) {
    guard let text = readText("/proc/\(process)/stat") else { return nil }
    // The second field is the program's name in parentheses, and may itself contain parentheses.
    guard let end = text.lastIndex(of: ")") else { return nil }
    let fields = text[text.index(after: end)...].split(separator: " ")
    guard fields.count > 19, let threadCount = Int(fields[17]), let start = UInt64(fields[19])
    else {
      return nil
    }
    letter = fields[0]
    self.threadCount = threadCount
    self.start = start
  }

  /// The first thread may exit before others.
  var hasExited: Bool { (letter == "Z" || letter == "X") && threadCount <= 1 }

  /// Whether the process may have started at the time of the owner.
  func isStart(of owner: UInt64) -> Bool {
    let tick = 1_000_000_000 / UInt64(max(sysconf(CInt(_SC_CLK_TCK)), 1))
    let shown = UInt32(truncatingIfNeeded: start &* tick)
    let difference = Int32(bitPattern: shown &- UInt32(truncatingIfNeeded: owner))
    // The owner is later than the start by a nanosecond for each exec of the process and its ancestors. The
    // kernel reads the two clocks in succession, and may be interrupted between the reads.
    return difference > -Int32(tick) - 1_000_000 && difference < 1_000_000_000
  }
}

/// Whether the machine was never suspended. Otherwise a start time of one clock cannot be converted
/// to the other.
private func clocksAgree() -> Bool {
  let monotonic = nanoseconds(of: CLOCK_MONOTONIC)
  return nanoseconds(of: CLOCK_BOOTTIME) - monotonic < 100_000_000
}
