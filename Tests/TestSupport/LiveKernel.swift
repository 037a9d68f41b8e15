import Glibc
internal import MmapStorage
package import Testing

/// Whether tests that need BPF may run here.
package enum LiveKernel {
  /// Why they cannot, or nil.
  package static let obstacle: String? = {
    do throws(StorageError) {
      try BPFMap(creatingTaskStorage: "probe", wordCount: 1).close()
      return nil
    } catch {
      return "\(error)"
    }
  }()

  /// True where BPF works, and where someone insists that it must.
  package static let mayRun: Bool = {
    let required = getenv("MMAPSTORAGE_REQUIRE").map { String(cString: $0) } ?? ""
    return obstacle == nil || required.split(separator: ",").contains("live")
  }()
}

extension Trait where Self == ConditionTrait {
  /// Skips the test, and says why, where BPF does not work and nobody insists on it.
  package static var liveKernel: Self {
    .enabled(if: LiveKernel.mayRun, "no BPF here: \(LiveKernel.obstacle ?? "")")
  }
}

extension LiveKernel {
  /// Skips the rest of a test case, and says why, where BPF does not work and nobody insists on it.
  package static func needed(sourceLocation: SourceLocation = #_sourceLocation) throws {
    guard !mayRun else { return }
    try Test.cancel("no BPF here: \(obstacle ?? "")", sourceLocation: sourceLocation)
  }
}
