// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF
internal import SystemPackage

/// Tells which processes that own slots have exited.
///
/// An owner is what `__swift_task_owner()` of swift_task_storage.bpf.h returns: the process id, and the
/// lower half of the process's start in nanoseconds of the monotonic clock.
struct SwiftTaskOwners: Sendable {
  private let seesAllProcesses: Bool
  private let comparesStarts: Bool

  /// - Parameter owner: What this process is.
  init(own owner: UInt64) {
    // The owner has the number that the process has in the first namespace of process ids. Elsewhere
    // the numbers of other processes say nothing here.
    seesAllProcesses = owner >> 32 == UInt64(getpid())
    // In a time namespace `/proc` may show other times.
    comparesStarts = seesAllProcesses && ProcessState(getpid())?.isStart(of: owner) == true
  }

  /// Whether it is known that the process has exited: there is none, it is a zombie, or its id belongs
  /// to a later process.
  ///
  /// Costs a system call for a process that exists no more, and about ten microseconds otherwise.
  func hasExited(_ owner: UInt64) -> Bool {
    guard seesAllProcesses, let process = pid_t(exactly: owner >> 32), process > 0 else {
      return false
    }
    if kill(process, 0) != 0, Glibc.errno == ESRCH { return true }
    // Other processes may be hidden (hidepid=).
    guard let state = ProcessState(process) else { return false }
    return state.hasExited || (comparesStarts && clocksAgree() && !state.isStart(of: owner))
  }
}

/// What `/proc/PID/stat` says about a process.
private struct ProcessState {
  private let letter: Substring
  private let threadCount: Int
  /// In ticks of the clock that goes on while the machine is suspended.
  private let start: UInt64

  /// `nil` if it cannot be read.
  init?(_ process: pid_t) {
    let path = FilePath("/proc/\(process)/stat")
    guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else {
      return nil
    }
    defer { try? file.close() }
    guard let bytes = try? file.readToEnd() else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    // The second field is the name of the program, in parentheses, which it may contain itself.
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

  /// Whether the process may have started when the owner did.
  func isStart(of owner: UInt64) -> Bool {
    let tick = 1_000_000_000 / UInt64(max(sysconf(CInt(_SC_CLK_TCK)), 1))
    let shown = UInt32(truncatingIfNeeded: start &* tick)
    let difference = Int32(bitPattern: shown &- UInt32(truncatingIfNeeded: owner))
    // The kernel reads the two clocks one after the other, and may be interrupted between them.
    return difference > -Int32(tick) && difference < 1_000_000_000
  }
}

/// Whether the machine was never suspended. Otherwise the start of a process on one clock does not give
/// that on the other.
private func clocksAgree() -> Bool {
  let monotonic = nanoseconds(of: CLOCK_MONOTONIC)
  return nanoseconds(of: CLOCK_BOOTTIME) - monotonic < 100_000_000
}
