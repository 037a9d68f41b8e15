// SPDX-License-Identifier: Apache-2.0
import Glibc

/// How the programs are attached to tracepoints in which the kernel can be preempted.
package enum TracepointHooks: Sendable {
  /// As raw tracepoints, which need no tracefs.
  case raw
  /// As trace events: the kernel does not preempt their programs.
  case events

  /// The hooks with which each event is counted on this kernel: up to Linux 6.18, raw tracepoints.
  package static var best: TracepointHooks { kernelMajorVersion < 7 ? .raw : .events }

  private static let suffix = "_event"
  /// The programs of costs-programs.bpf.c that exist for both hooks.
  private static let names: Set = ["on_enter", "on_exit", "on_sent", "on_received"]

  /// Whether a program is for these hooks.
  func use(_ program: String) -> Bool {
    switch self {
    case .raw: !program.hasSuffix(Self.suffix)
    case .events: !Self.names.contains(program)
    }
  }

  /// The name of a program, which is the same for both hooks.
  func name(of program: String) -> String {
    program.hasSuffix(Self.suffix) ? String(program.dropLast(Self.suffix.count)) : program
  }

  private static var kernelMajorVersion: Int {
    var names = utsname()
    uname(&names)
    return withUnsafeBytes(of: names.release) { bytes in
      Int(String(decoding: bytes.prefix { $0 != UInt8(ascii: ".") }, as: UTF8.self)) ?? 0
    }
  }
}
