// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import SystemPackage

/// `struct loader` of costs-programs.bpf.c: the state that a loader publishes to its servers.
struct LoaderState: MapValue, BitwiseCopyable, Sendable {
  var version: UInt64 = 0
  var leftOut: UInt64 = 0
  var missedRuns: UInt64 = 0
  var updated: UInt64 = 0

  static let currentVersion: UInt64 = 1

  init() {}

  init(leftOut: Set<OptionalProgram>, missedRuns: UInt64) {
    version = Self.currentVersion
    self.leftOut = leftOut.reduce(0) { $0 | 1 << $1.rawValue }
    self.missedRuns = missedRuns
    updated = Self.now
  }

  private static var now: UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
  }

  /// The time since the loader updated this, which it does each second.
  var silence: Duration {
    let now = Self.now
    return .nanoseconds(updated < now ? now - updated : 0)
  }

  /// Whether the loader has not updated this for ten seconds. The loader and its programs have ended, or the
  /// loader is stopped.
  var isAbandoned: Bool { version == Self.currentVersion && silence > .seconds(10) }

  /// The figures that are not counted, with one sentence for each.
  var missing: [String] {
    guard version == Self.currentVersion else {
      return ["the loader does not report what it omitted; use one of the same version"]
    }
    let known = OptionalProgram.allCases.filter { leftOut & 1 << $0.rawValue != 0 }
    let unknown = leftOut >> UInt64(OptionalProgram.allCases.count)
    return known.map { "\($0.consequence): the loader left it out" }.sorted()
      + (unknown == 0 ? [] : ["the loader omitted features that this version does not support"])
  }
}

/// Features that kernels may lack: programs, and the trace events for some of them. The raw values
/// are those of `enum optional` in C.
enum OptionalProgram: UInt64, CaseIterable, Sendable {
  case pageFault
  case sent
  case received
  case wakeup
  case sample
  case events

  init?(name: String) {
    guard let program = Self.allCases.first(where: { $0.name == name }) else { return nil }
    self = program
  }

  /// The name; for a program, its C name.
  var name: String {
    switch self {
    case .pageFault: "on_page_fault"
    case .sent: "on_sent"
    case .received: "on_received"
    case .wakeup: "on_wakeup"
    case .sample: "on_sample"
    case .events: "trace events"
    }
  }

  /// The figures that are not counted without it.
  var consequence: String {
    switch self {
    case .pageFault: "page faults are not counted"
    case .sent: "TCP bytes sent are not counted"
    case .received: "TCP bytes received are not counted"
    case .wakeup: "waiting for a processor after a wakeup counts as blocked"
    case .sample:
      "user time is not sampled but credited at system calls and switches, which is less exact"
    case .events:
      "events are missed while another run of their program is preempted; mount tracefs at "
        + "/sys/kernel/tracing before loading"
    }
  }
}
