// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
public import SystemPackage

/// The error type of this library: what was attempted, on which object, why it failed, and
/// what to do.
///
/// Every throwing function of the library throws this type. ``description`` is a message for users.
/// Test ``kind`` and ``errno`` in code.
public struct BPFError: Error, Sendable {
  /// The kind of a failure, for code that handles some kinds and not others.
  public enum Kind: Sendable, Hashable {
    /// The layouts of the Swift type and of the map's values differ. ``BPFError/details`` contains the
    /// table.
    case layoutMismatch
    /// The Swift type cannot be the value of a map, so its layout was not compared.
    case layoutUndescribed
    /// The map has no type information, or this process may not read it.
    case layoutUnavailable
    /// The pinned maps or programs differ from those of the object. ``BPFError/details`` contains the
    /// differences.
    case pinMismatch
    /// No map, program, global variable, hook or path of that name exists.
    case notFound
    /// The descriptor or path does not refer to a map, or the map has another type.
    case wrongType
    /// The argument is invalid on every kernel.
    case invalidArgument
    /// A capability or a file permission is missing.
    case permissionDenied
    /// The running kernel does not have the feature.
    case unsupported
    /// The thread has ended, or never existed.
    case noSuchTask
    /// The bytes are not a BPF object file that libbpf can open.
    case invalidObject
    /// The kernel rejected the object. ``BPFError/details`` contains the verifier's log.
    case loadFailed
    /// The object is in the wrong state for the call, such as loaded, or closed.
    case wrongState
    /// A writer changed the fields during each attempt to read them consistently, or a value is created and
    /// removed continually.
    case contended
    /// A limit was reached, such as on descriptors, memory, threads or slots.
    case outOfResources
    /// Any other system error. See ``BPFError/errno``.
    case system
  }

  /// The kind of the failure.
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

  /// The error number of the kernel or libbpf; `nil` if there is none.
  public var errno: Errno? { box.report.errno }

  /// What to do, in one sentence. May be empty.
  public package(set) var advice: String {
    get { box.report.advice }
    set { change { $0.advice = newValue } }
  }

  /// More lines, such as a layout table or a verifier log. May be empty.
  public package(set) var details: String {
    get { box.report.details }
    set { change { $0.details = newValue } }
  }

  // A single pointer, so that a throwing path costs the callers of hot functions nothing.
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

  /// Creates an error.
  ///
  /// - Parameters:
  ///   - kind: The kind of the failure.
  ///   - attempt: What was attempted, as a verb phrase.
  ///   - object: The object it was attempted on.
  ///   - errno: The error number, if there is one.
  ///   - advice: What to do, in one sentence.
  ///   - details: More lines, such as a table.
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
  /// The error as text: one line, and ``details`` below it.
  public var description: String {
    var text = "cannot \(attempt): \(object)"
    if let errno { text += ": \(errno.description) (errno \(errno.rawValue))" }
    if !advice.isEmpty { text += "; \(advice)" }
    if !details.isEmpty { text += "\n\(details)" }
    return text
  }
}

extension BPFError {
  /// Converts an error number to an error with the kind and advice that fit most calls. Callers
  /// with more specific advice pass their own. `rights` replaces only the rights that the general advice names.
  package init(
    errno: Errno,
    attempt: String,
    on object: String,
    advice: String? = nil,
    rights: String? = nil,
    details: String = ""
  ) {
    let filtered =
      mms_has_seccomp_filter()
      ? "; a seccomp filter is active, as in a container: it has to allow bpf and perf_event_open"
      : ""
    let (kind, general): (Kind, String) =
      switch errno {
      case .notPermitted, .permissionDenied:
        (
          .permissionDenied,
          (rights
            ?? "needs CAP_BPF (and CAP_PERFMON for tracing programs), or root; "
            + "or a descriptor or pinned path that this user may open")
            + filtered
            + (advice == nil && isInUserNamespace(uidMap: readText("/proc/self/uid_map"))
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
        (.outOfResources, "the system has no free descriptors (fs.file-max)")
      case .noMemory:
        (.outOfResources, "the kernel is out of memory, or the memory cgroup is full")
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
      // Seccomp filters of containers return this error for unknown calls.
      advice: (errno.isShortageOfDescriptors ? general : advice ?? general)
        + (errno == .noFunction ? filtered : ""),
      details: details
    )
  }
}

extension Errno {
  /// Any call may need a descriptor, so the kind and the advice of its caller do not fit.
  var isShortageOfDescriptors: Bool {
    self == .tooManyOpenFiles || self == .tooManyOpenFilesInSystem
  }
}

/// Whether a process with this `/proc/self/uid_map` is in a user namespace other than the initial one, where
/// capabilities do not count for `bpf(2)`.
package func isInUserNamespace(uidMap: String?) -> Bool {
  let words = (uidMap ?? "").split(whereSeparator: \.isWhitespace)
  let first = words.prefix(3).compactMap { UInt32($0) }
  return first.count == 3 && first != [0, 0, .max]
}
