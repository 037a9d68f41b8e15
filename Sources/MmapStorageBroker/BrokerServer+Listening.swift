// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LibBPF
public import SystemPackage

extension BrokerServer {
  /// Creates a socket of type `SOCK_SEQPACKET`, and listens.
  ///
  /// A broker that was killed leaves its socket. The socket is replaced if no process listens on it
  /// and this process's user owns it. Other sockets and files are not removed. If several processes
  /// call this at the same time, one succeeds. They lock the socket's directory, and wait at most a
  /// second for the lock.
  ///
  /// - Parameters:
  ///   - path: A path that does not exist, or the socket of a broker that was killed.
  ///   - permissions: The permissions of the socket. Clients need write permission.
  ///   - log: Called with a line if a socket is replaced.
  /// - Returns: The socket. The caller closes it, and removes the path.
  /// - Throws: ``/LibBPF/BPFError`` with the system's error.
  public static func listen(
    at path: FilePath,
    permissions: FilePermissions = .ownerReadWrite,
    log: (String) -> Void = { _ in }
  ) throws(BPFError) -> FileDescriptor {
    // Otherwise a process can remove a socket that another one has just created.
    let directory = path.removingLastComponent()
    let lock = lockDirectory(directory.isEmpty ? "." : directory)
    defer { if let lock { releaseLock(lock) } }
    var descriptor = listenOnSocket(at: path, permissions)
    if descriptor == -EADDRINUSE, lock != nil, ownerOfSocket(path) == geteuid(),
      connectionError(path) == .connectionRefused, removeSocket(path)
    {
      log("replaced the socket '\(path)' of a broker that was killed: no process listened on it")
      descriptor = listenOnSocket(at: path, permissions)
    }
    guard descriptor >= 0 else {
      throw BPFError(
        code: descriptor,
        attempt: "listen for clients",
        on: "path '\(path)'",
        advice: listenAdvice(Errno(rawValue: -descriptor), path)
      )
    }
    return FileDescriptor(rawValue: descriptor)
  }

  private static func listenAdvice(_ errno: Errno, _ path: FilePath) -> String? {
    switch errno {
    case _ where path.isEmpty: return "the path is empty"
    case .fileNameTooLong: return "the path of a socket has at most 107 bytes"
    case .noSuchFileOrDirectory, .notDirectory, .permissionDenied, .notPermitted,
      .readOnlyFileSystem:
      return "the directory has to exist and to be writable"
    case .addressInUse:
      guard let owner = ownerOfSocket(path) else {
        return "the path exists and is not a socket; choose another one"
      }
      switch connectionError(path) {
      case .connectionRefused:
        return owner == geteuid()
          ? "no process listens on it; remove the socket"
          : "no process listens on it, and the socket belongs to user \(owner); remove it"
      case .protocolWrongTypeForSocket: return "another program's socket; choose another path"
      case .permissionDenied: return "the path exists already; choose another one"
      default: return "another broker listens there; stop it, or choose another path"
      }
    default: return nil
    }
  }

  /// The reason why a client cannot connect; `nil` if it can.
  private static func connectionError(_ path: FilePath) -> Errno? {
    let client = connectSocket(to: path, timeout: 100)
    guard client >= 0 else { return Errno(rawValue: -client) }
    closeDescriptor(client)
    return nil
  }
}
