// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
public import SystemPackage

/// The one error type of this library: what was attempted, on which object, why it failed, and
/// what to do about it.
///
/// Every throwing function of the library throws this type. Printing an error gives a text for a
/// person; ``kind`` and ``errno`` are for code that reacts.
public struct BPFError: Error, Sendable {
  /// What went wrong, for code that reacts to some failures and not to others.
  public enum Kind: Sendable, Hashable {
    /// The Swift type and the map's BTF disagree; ``BPFError/details`` holds the table.
    case layoutMismatch
    /// A type cannot be described as a layout, so it was not compared with anything.
    case layoutUndescribed
    /// The map carries no type information, or this process may not read it.
    case layoutUnavailable
    /// What is pinned differs from what the object has; ``BPFError/details`` says how.
    case pinMismatch
    /// A map, program or global of that name does not exist.
    case notFound
    /// The descriptor or path is something else: not a map, or a map of another type.
    case wrongType
    /// The argument cannot be right, whatever the kernel.
    case invalidArgument
    /// The kernel refused for lack of a capability or of permissions.
    case permissionDenied
    /// The running kernel does not have the feature.
    case unsupported
    /// The thread has ended, or never was.
    case noSuchTask
    /// The bytes are not a BPF object file that libbpf can open.
    case invalidObject
    /// The kernel refused the object; ``BPFError/details`` holds the verifier's log.
    case loadFailed
    /// The call came in the wrong order, such as a flag set after loading, or after `close()`.
    case wrongState
    /// A writer held the fields through every attempt to read them consistently.
    case contended
    /// A limit was reached: descriptors, memory, or entries.
    case outOfResources
    /// Any other system error; ``BPFError/errno`` says which.
    case system
  }

  /// What went wrong, for code.
  public package(set) var kind: Kind {
    get { box.report.kind }
    set { change { $0.kind = newValue } }
  }

  /// What was attempted, as a verb phrase, such as "open the pinned map".
  public var attempt: String { box.report.attempt }

  /// The object it was attempted on, such as "map 'request_tags'".
  public package(set) var object: String {
    get { box.report.object }
    set { change { $0.object = newValue } }
  }

  /// The kernel's or libbpf's error number, where there was one.
  public var errno: Errno? { box.report.errno }

  /// What to do about it: one sentence.
  public package(set) var advice: String {
    get { box.report.advice }
    set { change { $0.advice = newValue } }
  }

  /// More lines, where one is not enough: a layout table or a verifier log. Empty otherwise.
  public package(set) var details: String {
    get { box.report.details }
    set { change { $0.details = newValue } }
  }

  // One pointer to throw, so that the way out costs the callers of hot functions nothing.
  private var box: Box

  private struct Report {
    var kind: Kind
    var attempt: String
    var object: String
    var errno: Errno?
    var advice: String
    var details: String
  }

  private final class Box: Sendable {
    let report: Report

    init(_ report: Report) { self.report = report }
  }

  private mutating func change(_ edit: (inout Report) -> Void) {
    var report = box.report
    edit(&report)
    box = Box(report)
  }

  /// Creates an error; backends outside this library use it as well.
  ///
  /// - Parameters:
  ///   - kind: What went wrong, for code.
  ///   - attempt: What was attempted, as a verb phrase.
  ///   - object: What it was attempted on.
  ///   - errno: The error number, where there was one.
  ///   - advice: What to do about it, one sentence.
  ///   - details: More lines, where one is not enough.
  public init(
    _ kind: Kind,
    attempt: String,
    on object: String,
    errno: Errno? = nil,
    advice: String,
    details: String = ""
  ) {
    box = Box(
      Report(
        kind: kind,
        attempt: attempt,
        object: object,
        errno: errno,
        advice: advice,
        details: details
      )
    )
  }
}

extension BPFError: CustomStringConvertible {
  /// The whole error as text: one line, and the details below it where there are any.
  public var description: String {
    var text = "cannot \(attempt): \(object)"
    if let errno { text += ": \(errno.description) (errno \(errno.rawValue))" }
    if !advice.isEmpty { text += "; \(advice)" }
    if !details.isEmpty { text += "\n\(details)" }
    return text
  }
}

extension BPFError {
  /// Turns an error number into an error with the kind and advice that fit most calls; a caller
  /// that knows more about the call gives its own `advice`.
  package init(
    errno: Errno,
    attempt: String,
    on object: String,
    advice: String? = nil,
    details: String = ""
  ) {
    let (kind, general): (Kind, String) =
      switch errno {
      case .notPermitted, .permissionDenied:
        (
          .permissionDenied,
          "needs CAP_BPF (and CAP_PERFMON for tracing programs), or root; "
            + "or a descriptor or pinned path that this user may open"
            + (mms_has_seccomp_filter()
              ? "; a seccomp filter is active, as in a container: it has to allow bpf and perf_event_open"
              : "")
            + (advice == nil && mms_is_in_user_namespace()
              ? "; only capabilities of the initial user namespace count, and this process is in another one"
              : "")
        )
      case .badFileDescriptor:
        (.wrongState, "the descriptor is closed or was never open; keep it open while it is in use")
      case .noSuchProcess:
        (.noSuchTask, "the thread has ended or the thread id is wrong")
      case .tooManyOpenFiles:
        (.outOfResources, "raise the descriptor limit (RLIMIT_NOFILE), or close descriptors")
      case .tooManyOpenFilesInSystem:
        (.outOfResources, "the whole system is out of descriptors (fs.file-max)")
      case .noMemory:
        (.outOfResources, "the kernel is out of memory for it, or its memory cgroup is full")
      case .noFunction, .notSupported:
        (.unsupported, "the running kernel does not have this feature")
      case .noSuchFileOrDirectory:
        (.notFound, "check the name or path")
      default:
        (.system, "")
      }
    self.init(
      kind,
      attempt: attempt,
      on: object,
      errno: errno,
      advice: advice ?? general,
      details: details
    )
  }
}
