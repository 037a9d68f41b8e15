internal import SystemPackage

/// A feature of the running kernel, found out by trying it, once a process.
enum KernelFeature {
  /// What trying a feature showed.
  enum Availability: Sendable, Hashable {
    case available
    /// The kernel answered as one that does not have it.
    case missing(Errno)
    /// The kernel did not get as far as that: no rights, say.
    case unknown(Errno?)
  }

  /// `BPF_F_MMAPABLE` for `BPF_MAP_TYPE_TASK_STORAGE`: creates such a map and closes it.
  static let mappableTaskStorage: Availability = {
    do throws(StorageError) {
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
}
