import Foundation
import MmapStorage
import Testing

/// Whether tests that need BPF may run here.
enum LiveKernel {
  /// Why they cannot, or nil.
  static let obstacle: String? = {
    do throws(StorageError) {
      try BPFMap(creatingTaskStorage: "probe", wordCount: 1).close()
      return nil
    } catch {
      return "\(error)"
    }
  }()

  /// True where BPF works, and where someone insists that it must.
  static let mayRun: Bool = {
    let required = ProcessInfo.processInfo.environment["MMAPSTORAGE_REQUIRE"] ?? ""
    return obstacle == nil || required.split(separator: ",").contains("live")
  }()
}

extension Trait where Self == ConditionTrait {
  /// Skips the test, and says why, where BPF does not work and nobody insists on it.
  static var liveKernel: Self {
    .enabled(if: LiveKernel.mayRun, "no BPF here: \(LiveKernel.obstacle ?? "")")
  }
}
