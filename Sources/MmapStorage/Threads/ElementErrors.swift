// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

/// The error of a system call on a task's element.
func elementError(
  _ errno: Errno,
  attempt: String,
  on map: String,
  of task: TaskReference
) -> BPFError {
  let object = "\(map) of \(task)"
  return switch errno {
  case .badFileDescriptor:
    BPFError(
      .wrongState,
      attempt: attempt,
      on: object,
      errno: errno,
      advice: "the pidfd is closed, or is not a pidfd"
    )
  case .notPermitted:
    BPFError(
      errno: errno,
      attempt: attempt,
      on: object,
      advice: "the descriptor is read-only or write-only, or the map is frozen; "
        + "or bpf() needs CAP_BPF here (kernel.unprivileged_bpf_disabled)"
    )
  case .resourceTemporarilyUnavailable:
    BPFError(
      .contended,
      attempt: attempt,
      on: object,
      errno: errno,
      advice: "a program or another process creates and removes the same value continually, "
        + "or the kernel has no memory for it"
    )
  default:
    BPFError(errno: errno, attempt: attempt, on: object)
  }
}
