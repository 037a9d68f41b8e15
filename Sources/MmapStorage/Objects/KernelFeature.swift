// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import Synchronization
internal import SystemPackage

/// Features of the running kernel, found by trying them.
enum KernelFeature {
  enum Availability: Sendable, Hashable {
    case available
    /// The kernel does not support it, as this error number shows.
    case missing(Errno?)
    /// It could not be tried, because the process lacks rights or resources.
    case unknown(Errno?)
  }

  /// A result that is kept for the process, unless it is ``Availability/unknown(_:)``.
  private struct KeptResult: ~Copyable {
    /// 0 for none, 1 if the feature is available, otherwise -1 minus the error number.
    private let state = Atomic<Int32>(0)

    func get(or test: () -> Availability) -> Availability {
      let kept = state.load(ordering: .relaxed)
      if kept == 1 { return .available }
      if kept < 0 { return .missing(kept == -1 ? nil : Errno(rawValue: -1 - kept)) }
      let result = test()
      switch result {
      case .available: state.store(1, ordering: .relaxed)
      case .missing(let errno): state.store(-1 - (errno?.rawValue ?? 0), ordering: .relaxed)
      case .unknown: break
      }
      return result
    }
  }

  private static let mmapableSmallValue = KeptResult()
  private static let userPageResult = KeptResult()

  /// `BPF_F_MMAPABLE` for task storage with values of this size. For values up to a page, the process
  /// keeps the result. Otherwise it is tried each time: two system calls.
  static func mmapableTaskStorage(valueSize: Int) -> Availability {
    guard valueSize <= StorageDeclaration.pageSize else { return tryMmapable(valueSize: valueSize) }
    return mmapableSmallValue.get { tryMmapable(valueSize: 8) }
  }

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
  static var userPages: Availability { userPageResult.get(or: tryUserPages) }

  private static func tryUserPages() -> Availability {
    do throws(BPFError) {
      try BPFMap(creatingTaskStorage: "uptr_probe", wordCount: 1 << 20, inUserPage: true).close()
      return .missing(nil)
    } catch {
      switch error.errno {
      case .argListTooLong: return .available
      case .notPermitted, .permissionDenied: return .unknown(error.errno)
      case let errno?: return errno.isTemporary ? .unknown(errno) : .missing(errno)
      case nil: return .missing(nil)
      }
    }
  }
}

extension Errno {
  /// Whether a system call that failed with this error may succeed later, because it needed a resource.
  var isTemporary: Bool {
    switch self {
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem, .noMemory, .noSpace, .interrupted,
      .resourceTemporarilyUnavailable:
      true
    default: false
    }
  }
}

extension KernelFeature.Availability {
  /// Why a backend cannot be used; `nil` if it can.
  func rejection(of kind: BackendKind) -> BackendChoice.Rejection? {
    let feature = kind == .mapped ? "BPF_F_MMAPABLE for" : "__uptr (Linux 6.13) in"
    return switch self {
    case .available: nil
    case .missing(let errno):
      .init(kind, reason: "this kernel does not have \(feature) task storage", errno: errno)
    case .unknown(let errno?) where errno.isTemporary:
      .init(kind, reason: "\(feature) task storage could not be tried", errno: errno)
    case .unknown(let errno):
      .init(kind, reason: "this process may not try \(feature) task storage", errno: errno)
    }
  }
}
