// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// How the bytes of a storage become reachable.
public enum BackendKind: String, Sendable, Hashable, Codable, CaseIterable, CustomStringConvertible
{
  /// The thread maps its own page of a `BPF_F_MMAPABLE` map: a load or store an access.
  case mapped
  /// The thread registers a page of its own with the kernel: a load or store an access.
  case userPage
  /// Copied with a system call, and the fields that changed back with another.
  case lookup
  /// Memory of the process, for unit tests.
  case fake

  /// The name as it is written in code, such as ".lookup".
  public var description: String { ".\(rawValue)" }
}

/// Which backend a storage uses, and why.
public struct BackendChoice: Sendable, Hashable, CustomStringConvertible {
  /// A backend that would have been better, and why it is not used.
  public struct Rejection: Sendable, Hashable, CustomStringConvertible {
    /// The backend.
    public var kind: BackendKind
    /// Why not: a clause for a person.
    public var reason: String
    /// What the kernel answered, where it was asked.
    public var errno: Errno?

    package init(_ kind: BackendKind, reason: String, errno: Errno? = nil) {
      self.kind = kind
      self.reason = reason
      self.errno = errno
    }

    static func notAllowed(_ kind: BackendKind) -> Rejection {
      Rejection(kind, reason: "the program does not allow it")
    }

    static func readOnly(_ kind: BackendKind) -> Rejection {
      Rejection(kind, reason: "the map's descriptor is read-only, or the map is frozen")
    }

    /// Whether this says only that the kernel lacks `BPF_F_MMAPABLE` for task storage, as every
    /// release does.
    fileprivate var isExpected: Bool { kind == .mapped && errno != nil }

    /// Such as "not .mapped, as this kernel does not … (Invalid argument, errno 22)".
    public var description: String {
      let cause = errno.map { " (\($0), errno \($0.rawValue))" } ?? ""
      return "not \(kind), as \(reason)\(cause)"
    }
  }

  /// The backend.
  public var kind: BackendKind
  /// Why this one.
  public var reason: String
  /// The better ones, best first, and why not.
  public var rejected: [Rejection]

  package init(_ kind: BackendKind, reason: String, rejected: [Rejection] = []) {
    self.kind = kind
    self.reason = reason
    self.rejected = rejected
  }

  /// Why this one, and why not the better ones, for a person.
  public var explanation: String {
    ([reason] + rejected.map(\.description)).joined(separator: "; ")
  }

  /// The kind and why, such as ".userPage: each thread shares a page of its own with the kernel".
  ///
  /// Names the better backends that the kernel or the map rules out, except for `.mapped` on a
  /// kernel without the patches; ``explanation`` names that as well.
  public var description: String {
    let unexpected = rejected.filter { !$0.isExpected }.map(\.description)
    return "\(kind): " + ([reason] + unexpected).joined(separator: "; ")
  }
}
