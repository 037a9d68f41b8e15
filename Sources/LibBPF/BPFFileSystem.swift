// SPDX-License-Identifier: Apache-2.0
import Glibc
public import SystemPackage

/// BPF file systems (bpffs), on which maps, programs and links are pinned.
public enum BPFFileSystem {
  /// The usual mount point, "/sys/fs/bpf".
  static let defaultMountPoint: FilePath = "/sys/fs/bpf"

  /// Whether the path exists and is on a BPF file system (`statfs(2)`).
  public static func contains(_ path: FilePath) -> Bool { path.isOnBPFFileSystem }

  /// Mounts a BPF file system at ``defaultMountPoint`` unless there is one.
  ///
  /// The root directory gets mode 0711: every user may open a pin whose path and permissions allow it,
  /// and only the owner may list or create pins.
  ///
  /// - Throws: ``BPFError/Kind/permissionDenied`` without CAP_SYS_ADMIN, ``BPFError/Kind/notFound`` if
  ///   sysfs is not mounted or the kernel has no BPF, or another error of `mount(2)`.
  static func mountIfAbsent() throws(BPFError) {
    guard !contains(defaultMountPoint) else { return }
    // Otherwise a process can mount over another process's new mount, and hide its pins.
    let lock = lockDirectory(defaultMountPoint)
    defer { if let lock { releaseLock(lock) } }
    guard !contains(defaultMountPoint) else { return }
    let code = defaultMountPoint.mountBPFFileSystem(options: "mode=0711")
    guard code == 0 else {
      throw BPFError(
        code: code,
        attempt: "mount a BPF file system",
        on: "path '\(defaultMountPoint)'",
        advice:
          "run 'mount -t bpf bpf /sys/fs/bpf' as root, or let systemd mount it; in a container, "
          + "mount the host's /sys/fs/bpf into it"
      )
    }
  }

  /// Mounts the default file system if the path is below its mount point.
  static func mountIfNeeded(for path: FilePath) throws(BPFError) {
    if path.lexicallyNormalized().starts(with: defaultMountPoint) { try mountIfAbsent() }
  }

  /// Creates a directory on a BPF file system, or changes the mode and group of an existing one.
  ///
  /// The directory belongs to this process's user, and not to the owner in `attributes`, because the owner
  /// of a directory can remove and replace the pins in it.
  ///
  /// - Parameters:
  ///   - path: A new or existing directory. Its parent has to exist.
  ///   - attributes: Attributes of the files in the directory. Users who may read the files may list and
  ///     enter the directory. With another owner, every user may.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if it is not on a BPF file system, is a symbolic link, or
  ///   belongs to another user, ``BPFError/Kind/notFound`` if the parent does not exist,
  ///   ``BPFError/Kind/permissionDenied``.
  public static func createDirectory(
    _ path: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes()
  ) throws(BPFError) {
    try createDirectory(path, attributes.directoryPermissions, group: attributes.group)
  }

  /// Returns whether it created the directory. Changes an existing one only if `changesExisting` is true.
  @discardableResult
  static func createDirectory(
    _ path: FilePath,
    _ permissions: FilePermissions,
    group: UInt32?,
    changesExisting: Bool = true
  ) throws(BPFError) -> Bool {
    let attempt = "create a directory for pins"
    try mountIfNeeded(for: path)
    let code = path.createDirectory(0o700)
    guard code == 0 || code == -EEXIST else {
      let isReserved = code == -EPERM && hasReservedName(path)
      throw BPFError(
        isReserved ? .invalidArgument : nil,
        code: code,
        attempt: attempt,
        on: "path '\(path)'",
        advice: isReserved ? reservedNameAdvice : parentAdvice(path)
      )
    }
    guard contains(path) else {
      if code == 0 { path.removeDirectory() }
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "path '\(path)'",
        advice: mountAdvice
      )
    }
    let directory = try openDirectory(path, attempt: attempt)
    defer { closeDescriptor(directory) }
    guard code == 0 || changesExisting else { return false }
    var result = setGroup(of: directory, to: group ?? getegid())
    if result == 0 { result = changeMode(of: directory, to: permissions.rawValue) }
    guard result == 0 else { throw refusedAttributes(result, path, attempt) }
    return code == 0
  }

  /// Opens a directory that only this user and root may replace. The caller closes the descriptor.
  static func openDirectory(_ path: FilePath, attempt: String) throws(BPFError) -> CInt {
    let directory: FileDescriptor
    do {
      directory = try FileDescriptor.open(
        path,
        .readOnly,
        options: [.directory, .noFollow, .closeOnExec]
      )
    } catch {
      throw BPFError(
        error as? Errno == .notDirectory ? .invalidArgument : nil,
        code: -(error as? Errno ?? .ioError).rawValue,
        attempt: attempt,
        on: "path '\(path)'",
        advice: error as? Errno == .notDirectory
          ? "it is a symbolic link or a file; remove it, or name the directory itself" : nil
      )
    }
    switch owner(of: directory.rawValue) {
    case .success(geteuid()), .success(0): return directory.rawValue
    case .success(let owner):
      closeDescriptor(directory.rawValue)
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "path '\(path)'",
        advice:
          "the directory belongs to user \(owner), who may replace what is in it; this process "
          + "is user \(geteuid()); remove the directory, or choose another one"
      )
    case .failure(let errno):
      closeDescriptor(directory.rawValue)
      throw BPFError(errno: errno, attempt: attempt, on: "path '\(path)'")
    }
  }

  /// Sets the attributes of a pin: owner and group, and then the permissions.
  static func apply(
    _ attributes: BPFPinAttributes,
    toPin path: FilePath,
    attempt: String
  ) throws(BPFError) {
    let executable: FilePermissions = [.ownerExecute, .groupExecute, .otherExecute]
    let permissions = attributes.permissions.subtracting(executable)
    // chown(2) would not change the owner or group.
    guard attributes.owner != .max, attributes.group != .max else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "path '\(path)'",
        advice: "no user and no group has the id \(UInt32.max)"
      )
    }
    let owner = attributes.owner ?? geteuid()
    let group = attributes.group ?? getegid()
    var code: CInt = 0
    // An earlier call may have set the owner and group of an existing pin.
    if path.ownership.map({ $0 != (owner, group) }) ?? true {
      code = path.changeOwner(owner, group)
    }
    if code == 0 { code = path.changeMode(permissions.rawValue) }
    guard code == 0 else { throw refusedAttributes(code, path, attempt) }
  }

  private static func refusedAttributes(
    _ code: CInt,
    _ path: FilePath,
    _ attempt: String
  ) -> BPFError {
    BPFError(
      code: code,
      attempt: attempt,
      on: "path '\(path)'",
      advice: code == -EOPNOTSUPP
        ? "it is a symbolic link, which must be removed, or /proc is not mounted"
        : "another owner, or a group that this process is not in, needs CAP_CHOWN"
    )
  }

  private static func parentAdvice(_ path: FilePath) -> String {
    unreachableDirectory(of: path)
      ?? "the parent directory has to exist and to be writable for this user"
  }

  /// Whether a name in the path contains a dot. The kernel reserves such names on BPF file systems.
  static func hasReservedName(_ path: FilePath) -> Bool {
    var directory = path.root.map { FilePath(root: $0) } ?? "."
    for component in path.components {
      if component.kind == .regular, component.string.contains("."), contains(directory) {
        return true
      }
      directory.append(component)
    }
    return false
  }

  /// Names the first parent of the path that is not a directory, or that this process may not enter; `nil`
  /// if there is none.
  static func unreachableDirectory(of path: FilePath) -> String? {
    var directory = path.root.map { FilePath(root: $0) } ?? "."
    for component in path.removingLastComponent().components {
      directory.append(component)
      switch directory.entryError {
      case .notDirectory: return "'\(directory)' is not a directory"
      case .permissionDenied:
        return "this user may not enter '\(directory)'; give it execute permission there "
          + "(chmod o+x, or a group), or pin in another directory"
      default: break
      }
    }
    return nil
  }
}

let reservedNameAdvice = "the kernel reserves names that contain a dot; choose another name"

let mountAdvice =
  "it is not on a BPF file system; mount one with 'mount -t bpf bpf /sys/fs/bpf', or choose a path "
  + "on one"
