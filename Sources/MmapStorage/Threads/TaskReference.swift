// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// Identifies a task whose value is accessed.
public enum TaskReference: Sendable, Hashable, CustomStringConvertible {
  /// The calling thread.
  case callingThread
  /// The thread with this id, in this process or, if the kernel permits it, in another one.
  case thread(ThreadID)
  /// The task of this pidfd (`pidfd_open(2)`). The caller owns the descriptor and must keep it open during
  /// the call.
  case pidfd(FileDescriptor)

  /// The thread's id; nil for a pidfd whose task has ended or is not in this pid namespace.
  var threadID: ThreadID? {
    switch self {
    case .callingThread: .current
    case .thread(let id): id
    case .pidfd(let descriptor): ThreadID(ofPidfd: descriptor)
    }
  }

  /// Whether it is the calling thread, as far as this is known without a system call on the
  /// descriptor.
  var isCallingThread: Bool {
    switch self {
    case .callingThread: true
    case .thread(let id): id == ThreadRegistry.shared.currentRecord?.id ?? .current
    case .pidfd: false
    }
  }

  /// The task as text, for errors.
  public var description: String {
    switch self {
    case .callingThread: "the calling thread"
    case .thread(let id): "thread \(id)"
    case .pidfd(let descriptor): "the task of pidfd \(descriptor.rawValue)"
    }
  }
}
