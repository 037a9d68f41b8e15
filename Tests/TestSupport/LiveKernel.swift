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
    obstacle == nil || isRequired("live")
  }()

  /// Why there is no `.mapped` backend here, or nil.
  package static let mappingObstacle: String? = {
    do throws(StorageError) {
      try BPFMap(
        creatingTaskStorage: "probe", wordCount: 1, flags: [.noPreallocation, .mappable]
      ).close()
      return nil
    } catch {
      return "\(error)"
    }
  }()

  private static func isRequired(_ what: Substring) -> Bool {
    let required = getenv("MMAPSTORAGE_REQUIRE").map { String(cString: $0) } ?? ""
    return required.split(separator: ",").contains(what)
  }
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

  /// Skips the rest of a test case where the kernel has no mappable task storage, unless
  /// `MMAPSTORAGE_REQUIRE` says that this is the patched one.
  package static func neededWithMappableTaskStorage(
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    guard let mappingObstacle, !isRequired("vm") else { return }
    try Test.cancel(
      "no mappable task storage here: \(mappingObstacle)", sourceLocation: sourceLocation)
  }
}
