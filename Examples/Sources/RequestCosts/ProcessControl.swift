// SPDX-License-Identifier: Apache-2.0
import CProcessControl
import Glibc
import MmapStorage
import SystemPackage

/// The pinned program that registers a process with the programs of a loader. It registers only the
/// process that runs it.
final class ProcessControl: Sendable {
  static let name = "processes_control"

  private let path: FilePath
  private let program: CInt

  /// The first argument of the program.
  private enum Operation: UInt64 {
    case register = 1
    case unregister = 2
  }

  /// Opens it. Needs the permission to read and write the pin.
  init(pinnedIn directory: FilePath) throws(BPFError) {
    path = directory.appending(Self.name)
    program = process_control_open(path.string)
    guard program < 0 else { return }
    throw error("open the pinned program", Errno(rawValue: -program))
  }

  deinit { if program >= 0 { close(program) } }

  /// Starts counting for the calling process, from zero.
  func register() throws(BPFError) {
    let attempt = "register the process"
    var result = process_control_run(program, Operation.register.rawValue)
    // The program creates nothing while memory is short, or while another task on this CPU is
    // preempted inside of bpf_task_storage_get().
    for _ in 0..<100 where result == 0 {
      usleep(10_000)
      result = process_control_run(program, Operation.register.rawValue)
    }
    switch result {
    case 1: return
    case 0: throw error(attempt, .noMemory)
    case ..<0: throw error(attempt, Errno(rawValue: -result))
    default: throw error(attempt, .invalidArgument)
    }
  }

  /// Ends counting for the calling process.
  func unregister() { _ = process_control_run(program, Operation.unregister.rawValue) }

  private func error(_ attempt: String, _ errno: Errno) -> BPFError {
    let (kind, advice): (BPFError.Kind, String) =
      switch errno {
      case .noSuchFileOrDirectory:
        (.notFound, "start a request-costs-loader of the same version as this server")
      case .permissionDenied, .notPermitted:
        (.permissionDenied, "run the server in the group of request-costs-loader")
      case .noMemory:
        (.outOfResources, "the kernel could not allocate memory for it within a second")
      default: (.system, "the pin has to be the one of request-costs-loader")
      }
    return BPFError(kind, attempt: attempt, on: "path '\(path)'", errno: errno, advice: advice)
  }
}
