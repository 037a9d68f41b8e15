// SPDX-License-Identifier: Apache-2.0
package import SystemPackage

/// The method by which a thread accesses its value.
///
/// Not an enumeration, because the test library adds `.fake`.
public struct BackendKind: RawRepresentable, Sendable, Hashable, Codable, CaseIterable,
  CustomStringConvertible
{
  /// The thread maps its own page of a `BPF_F_MMAPABLE` map. Each access is one load or store.
  public static let mapped = BackendKind(rawValue: "mapped")
  /// The thread registers a page with the map. Each access is one load or store.
  public static let userPage = BackendKind(rawValue: "userPage")
  /// A system call copies the value, and another one writes back the changed fields.
  public static let lookup = BackendKind(rawValue: "lookup")

  /// The backends for maps, best first.
  public static let allCases: [BackendKind] = [.mapped, .userPage, .lookup]

  /// The name, such as "lookup".
  public let rawValue: String

  /// Creates a kind with this name. See ``allCases`` for the names.
  public init(rawValue: String) { self.rawValue = rawValue }

  /// The name in Swift code, such as ".lookup".
  public var description: String { ".\(rawValue)" }
}

/// The backend of a storage, and the reason for the choice.
public struct BackendChoice: Sendable, Hashable, CustomStringConvertible {
  /// A better backend that is not used, and the reason.
  package struct Rejection: Sendable, Hashable, CustomStringConvertible {
    package var kind: BackendKind
    package var reason: String
    /// The error of the kernel, if the backend was tried.
    package var errno: Errno?

    package init(_ kind: BackendKind, reason: String, errno: Errno? = nil) {
      self.kind = kind
      self.reason = reason
      self.errno = errno
    }

    static func notAllowed(_ kind: BackendKind) -> Rejection {
      Rejection(kind, reason: "'allowing' does not contain it")
    }

    static func readOnly(_ kind: BackendKind) -> Rejection {
      Rejection(kind, reason: "the map's descriptor is read-only, or the map is frozen")
    }

    /// Whether the only reason is that the kernel lacks `BPF_F_MMAPABLE` for task storage, as every
    /// release does.
    fileprivate var isExpected: Bool {
      guard kind == .mapped, let errno else { return false }
      return !errno.isTemporary
    }

    /// Such as "not .mapped, as this kernel does not … (Invalid argument, errno 22)".
    package var description: String {
      let cause = errno.map { " (\($0), errno \($0.rawValue))" } ?? ""
      return "not \(kind), as \(reason)\(cause)"
    }
  }

  /// The backend.
  public var kind: BackendKind
  /// The reason for the choice.
  package var reason: String
  /// The better backends that are not used, best first.
  package var rejected: [Rejection]

  package init(_ kind: BackendKind, reason: String, rejected: [Rejection] = []) {
    self.kind = kind
    self.reason = reason
    self.rejected = rejected
  }

  /// The reason for the choice, and the reason for each better backend that is not used, as text for users.
  public var explanation: String {
    ([reason] + rejected.map(\.description)).joined(separator: "; ")
  }

  /// The backend and the reason, such as ".userPage: each thread shares a page of its own with the kernel".
  ///
  /// Contains the better backends that are not used, except for `.mapped` on a kernel without the patches,
  /// which only ``explanation`` contains.
  public var description: String {
    let unexpected = rejected.filter { !$0.isExpected }.map(\.description)
    return "\(kind): " + ([reason] + unexpected).joined(separator: "; ")
  }
}
