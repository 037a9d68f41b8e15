/// How the bytes of a storage become reachable.
public enum BackendKind: String, Sendable, Hashable, CaseIterable, CustomStringConvertible {
  /// The thread maps its own page of a `BPF_F_MMAPABLE` map: a load or store an access.
  case mapped
  /// The thread registers a page of its own with the kernel: a load or store an access.
  case userPage
  /// `bpf_map_lookup_elem` into a buffer, and `bpf_map_update_elem` back if something changed.
  case lookup
  /// Memory of the process, for unit tests.
  case fake

  /// The name as it is written in code, such as ".lookup".
  public var description: String { ".\(rawValue)" }
}

/// Which backend a storage uses, and why.
public struct BackendChoice: Sendable, Hashable, CustomStringConvertible {
  /// The backend.
  public var kind: BackendKind
  /// Why this one: a sentence for a person.
  public var explanation: String

  /// Creates a choice; for backends outside this library.
  public init(_ kind: BackendKind, explanation: String) {
    self.kind = kind
    self.explanation = explanation
  }

  /// The kind and the reason, such as ".lookup: the map was not created with BPF_F_MMAPABLE".
  public var description: String { "\(kind): \(explanation)" }
}
