import CLibBPFShim
public import SystemPackage

extension BPFMap {
  /// Gives the map a name on a BPF file system, so that it outlives this process and others can
  /// open it.
  ///
  /// - Parameter path: A new name in a directory that exists on a BPF file system, without a dot.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if the path is taken, has a dot in its name or
  ///   is not on a BPF file system; ``BPFError/Kind/notFound`` if the directory does not exist;
  ///   ``BPFError/Kind/permissionDenied``; or ``BPFError/Kind/wrongState`` after
  ///   ``close()``.
  public func pin(at path: FilePath) throws(BPFError) {
    let attempt = "pin \(describedName)"
    let subject = "path '\(path)'"
    let code = try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      path.withPlatformString { mms_pin(descriptor.rawValue, $0) }
    }
    guard code != 0 else { return }
    let parent = path.removingLastComponent()
    switch Errno(rawValue: -code) {
    case .fileExists:
      throw BPFError(
        .invalidArgument,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "unpin what is there first, or choose another name"
      )
    case .notPermitted where !isOnBPFFileSystem(parent.isEmpty ? "." : parent):
      throw BPFError(
        .invalidArgument,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "it is not on a BPF file system; choose a path below one, such as /sys/fs/bpf, or "
          + "mount one with 'mount -t bpf bpf DIRECTORY'"
      )
    case .notPermitted where path.lastComponent?.string.contains(".") == true:
      throw BPFError(
        .invalidArgument,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "the kernel keeps names with a dot for itself; choose another name"
      )
    case .noSuchFileOrDirectory:
      throw BPFError(
        code: code,
        attempt: attempt,
        on: subject,
        advice: "create the directory first"
      )
    default:
      throw BPFError(
        code: code,
        attempt: attempt,
        on: subject,
        advice: "it takes write permission for the directory, or a BPF file system of one's own"
      )
    }
  }

  /// Removes a name of this map.
  ///
  /// The path is removed only if it is this very map's. Someone who replaces it between the check
  /// and the removal is not noticed.
  ///
  /// - Parameter path: Where the map is pinned.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if something else is
  ///   pinned there, ``BPFError/Kind/permissionDenied``, or ``BPFError/Kind/wrongState``
  ///   after ``close()``.
  public func unpin(at path: FilePath) throws(BPFError) {
    let attempt = "unpin \(describedName)"
    let subject = "path '\(path)'"
    let own = try info.id
    let number = try openPinned(path, readOnly: true, attempt: attempt, on: subject)
    defer { closeNumber(number) }
    let found = try inspectMap(number, attempt: attempt, on: subject)
    guard found.id == own else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: subject,
        advice: "another map is pinned there (id \(found.id), this one has \(own))"
      )
    }
    let code = path.withPlatformString { mms_unlink($0) }
    guard code == 0 else {
      throw BPFError(
        code: code,
        attempt: attempt,
        on: subject,
        advice: "it takes write permission for the directory"
      )
    }
  }
}

/// Opens whatever is pinned at the path.
func openPinned(
  _ path: FilePath,
  readOnly: Bool,
  attempt: String,
  on subject: String
) throws(BPFError) -> CInt {
  let number = path.withPlatformString { mms_open_pinned($0, readOnly) }
  guard number < 0 else { return number }
  switch Errno(rawValue: -number) {
  case .noSuchFileOrDirectory:
    throw BPFError(
      code: number,
      attempt: attempt,
      on: subject,
      advice: "nothing is pinned there"
    )
  case .permissionDenied where !isOnBPFFileSystem(path):
    throw BPFError(
      .wrongType,
      code: number,
      attempt: attempt,
      on: subject,
      advice: "it is not on a BPF file system; maps are pinned below one, such as /sys/fs/bpf"
    )
  case .permissionDenied:
    throw BPFError(
      code: number,
      attempt: attempt,
      on: subject,
      advice: readOnly
        ? "this user may not read it, or it is a directory"
        : "this user may not read and write it, or it is a directory; for lookups open it read-only"
    )
  default:
    throw BPFError(code: number, attempt: attempt, on: subject)
  }
}

private func isOnBPFFileSystem(_ path: FilePath) -> Bool {
  path.withPlatformString { mms_is_on_bpffs($0) } == 1
}
