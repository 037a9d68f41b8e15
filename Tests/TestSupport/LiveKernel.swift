// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
import Glibc
package import MmapStorage
package import Testing

/// Whether tests that need BPF may run here.
package enum LiveKernel {
  /// The reason why they cannot, or nil.
  package static let obstacle: String? = {
    do throws(BPFError) {
      try BPFMap(creatingTaskStorage: "probe", wordCount: 1).close()
      return nil
    } catch {
      return "\(error)"
    }
  }()

  /// True if BPF works, or if `MMAPSTORAGE_REQUIRE` requires it.
  package static let mayRun: Bool = {
    obstacle == nil || isRequired("live")
  }()

  /// The reason why there is no `.mapped` backend, or nil.
  package static let mappingObstacle: String? = {
    do throws(BPFError) {
      try BPFMap(
        creatingTaskStorage: "probe",
        wordCount: 1,
        flags: [.noPrealloc, .mmapable]
      ).close()
      return nil
    } catch {
      return "\(error)"
    }
  }()

  /// True if task storage can be mapped, or if `MMAPSTORAGE_REQUIRE` requires it.
  package static let mayMap = mappingObstacle == nil || isRequired("vm")

  /// The reason why there is no `.userPage` backend, or nil.
  package static let userPageObstacle: String? = {
    do throws(BPFError) {
      let map = try BPFMap(creatingTaskStorage: "probe", wordCount: 1, inUserPage: true)
      defer { map.close() }
      _ = try UserPageBackend(map)
      return nil
    } catch {
      return "\(error)"
    }
  }()

  /// True if user pages can be shared with the kernel, or if `MMAPSTORAGE_REQUIRE` requires it.
  package static let mayShareUserPages = userPageObstacle == nil || isRequired("userpage")

  /// The reason why there are no pidfds of threads other than the group leader, or nil.
  package static let threadPidfdObstacle: String? = {
    let descriptor = mms_pidfd_open(ThreadID.current.rawValue, true)
    guard descriptor >= 0 else { return "PIDFD_THREAD needs Linux 6.9 (errno \(-descriptor))" }
    close(descriptor)
    return nil
  }()

  /// True if there are such pidfds, or if `MMAPSTORAGE_REQUIRE` requires them.
  package static let mayOpenThreadPidfds = threadPidfdObstacle == nil || isRequired("pidfd")

  /// The backends that work here, best first.
  package static let backends: [BackendKind] = [
    mappingObstacle == nil ? .mapped : nil, userPageObstacle == nil ? .userPage : nil, .lookup,
  ].compactMap(\.self)

  /// True in the virtual machine of kernel/run, whose processors QEMU emulates.
  package static let isEmulated = getenv("MMAPSTORAGE_EMULATED") != nil

  private static func isRequired(_ what: Substring) -> Bool {
    let required = getenv("MMAPSTORAGE_REQUIRE").map { String(cString: $0) } ?? ""
    return required.split(separator: ",").contains(what)
  }
}

extension Trait where Self == LiveKernelTrait {
  /// Skips the test with the reason if BPF does not work and is not required.
  package static var liveKernel: Self {
    LiveKernelTrait(if: LiveKernel.mayRun, "no BPF here: \(LiveKernel.obstacle ?? "")")
  }

  /// Skips the test with the reason if the kernel has no user pages and they are not required.
  package static var userPages: Self {
    LiveKernelTrait(
      if: LiveKernel.mayShareUserPages,
      "no user pages here: \(LiveKernel.userPageObstacle ?? "")"
    )
  }

  /// Skips the test with the reason if the kernel has no mappable task storage and it is not
  /// required.
  package static var mmapableTaskStorage: Self {
    LiveKernelTrait(
      if: LiveKernel.mayMap,
      "no mappable task storage here: \(LiveKernel.mappingObstacle ?? "")"
    )
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips the test with the reason if there are no pidfds of all threads and they are not
  /// required: for tests that access values by pidfd.
  package static var threadPidfds: Self {
    .enabled(
      if: LiveKernel.mayOpenThreadPidfds,
      "no pidfds of threads here: \(LiveKernel.threadPidfdObstacle ?? "")"
    )
  }

  /// Skips the test if processors are emulated, because it would take minutes.
  package static var atHardwareSpeed: Self {
    .disabled(if: LiveKernel.isEmulated, "takes minutes on an emulated processor")
  }
}

extension LiveKernel {
  /// Omits a test case, if the test of the same condition is skipped with its reason.
  package static func skipCase(
    unless mayRun: Bool,
    sourceLocation: SourceLocation = #_sourceLocation
  ) throws {
    if !mayRun { try Test.cancel("see the skipped tests", sourceLocation: sourceLocation) }
  }
}
