// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

/// Features of the running kernel, found by trying them.
enum KernelFeature {
  enum Availability: Sendable, Hashable {
    case available
    /// The kernel does not support it, as this error number shows.
    case missing(Errno?)
    /// This process may not try it.
    case unknown(Errno?)
  }

  /// `BPF_F_MMAPABLE` for task storage with values of this size. Tried once per process for values
  /// up to a page, otherwise each time: two system calls.
  static func mmapableTaskStorage(valueSize: Int) -> Availability {
    valueSize <= StorageDeclaration.pageSize
      ? mmapableSmallValue : tryMmapable(valueSize: valueSize)
  }

  private static let mmapableSmallValue = tryMmapable(valueSize: 8)

  private static func tryMmapable(valueSize: Int) -> Availability {
    do throws(BPFError) {
      try BPFMap(
        creatingTaskStorage: "mmap_probe",
        wordCount: (valueSize + 7) / 8,
        flags: [.noPrealloc, .mmapable]
      ).close()
      return .available
    } catch {
      switch error.errno {
      case .invalidArgument, .notSupported, .argListTooLong: return .missing(error.errno)
      default: return .unknown(error.errno)
      }
    }
  }

  /// `__uptr` in the values of task storage (Linux 6.13). A kernel with the feature rejects a
  /// `__uptr` to more than a page with E2BIG; other kernels create such a map.
  static let userPages: Availability = {
    do throws(BPFError) {
      try BPFMap(creatingTaskStorage: "uptr_probe", wordCount: 1 << 20, inUserPage: true).close()
      return .missing(nil)
    } catch {
      switch error.errno {
      case .argListTooLong: return .available
      case .notPermitted, .permissionDenied: return .unknown(error.errno)
      default: return .missing(error.errno)
      }
    }
  }()
}

extension KernelFeature.Availability {
  /// Why a backend cannot be used; `nil` if it can.
  func rejection(of kind: BackendKind) -> BackendChoice.Rejection? {
    let feature = kind == .mapped ? "BPF_F_MMAPABLE for" : "__uptr (Linux 6.13) in"
    return switch self {
    case .available: nil
    case .missing(let errno):
      .init(kind, reason: "this kernel does not have \(feature) task storage", errno: errno)
    case .unknown(let errno):
      .init(kind, reason: "this process may not try \(feature) task storage", errno: errno)
    }
  }
}
