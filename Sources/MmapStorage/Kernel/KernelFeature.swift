internal import SystemPackage

/// A feature of the running kernel, found out by trying it, once a process.
enum KernelFeature {
  /// What trying a feature showed.
  enum Availability: Sendable, Hashable {
    case available
    /// The kernel answered as one that does not have it.
    case missing(Errno?)
    /// The kernel did not get as far as that: no rights, say.
    case unknown(Errno?)
  }

  /// `BPF_F_MMAPABLE` for `BPF_MAP_TYPE_TASK_STORAGE`: creates such a map and closes it.
  static let mappableTaskStorage: Availability = {
    do throws(BPFError) {
      try BPFMap(
        creatingTaskStorage: "mmap_probe",
        wordCount: 1,
        flags: [.noPreallocation, .mappable]
      ).close()
      return .available
    } catch {
      guard let errno = error.errno, errno == .invalidArgument || errno == .notSupported else {
        return .unknown(error.errno)
      }
      return .missing(errno)
    }
  }()

  /// `__uptr` in task storage: creates a map with a pointer to more than any page, which only a
  /// kernel that knows such pointers refuses as too large. Others take it for a number, and the
  /// map is closed.
  static let userPages: Availability = {
    do throws(BPFError) {
      try BPFMap(creatingTaskStorage: "uptr_probe", wordCount: 1 << 20, inUserPage: true).close()
      return .missing(nil)
    } catch {
      return error.errno == .argListTooLong ? .available : .unknown(error.errno)
    }
  }()
}

extension KernelFeature.Availability {
  /// Why a backend that needs the feature is not used, unless the feature is there.
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
