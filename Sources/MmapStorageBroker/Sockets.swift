// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
package import SystemPackage

// Calls of sockets, with Swift types. Invariant: pointers are lent for one call, with the number of bytes
// or elements that they point to. Functions that return a number return a negative error number on failure.

/// Connects. Blocking calls wait for at most `timeout` milliseconds, and then fail with `EAGAIN`.
package func connectSocket(to path: FilePath, timeout: UInt32) -> CInt {
  guard let address = sockaddr_un(path) else { return -ENAMETOOLONG }
  let descriptor = socket(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue), 0)
  guard descriptor >= 0 else { return -errno }
  // A limit of zero is none.
  let microseconds = max(1, Int(timeout) * 1000)
  var limit = timeval(tv_sec: microseconds / 1_000_000, tv_usec: microseconds % 1_000_000)
  let size = socklen_t(MemoryLayout<timeval>.size)
  guard unsafe setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size) == 0,
    unsafe setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size) == 0,
    unsafe address.call({ unsafe connect(descriptor, $0, $1) }) == 0
  else { return closeAfterFailure(descriptor) }
  return descriptor
}

/// Creates a socket of type `SOCK_SEQPACKET` that does not block, and listens.
package func listenOnSocket(at path: FilePath, _ permissions: FilePermissions) -> CInt {
  guard let address = sockaddr_un(path) else { return -ENAMETOOLONG }
  let type = SOCK_SEQPACKET.rawValue | SOCK_CLOEXEC.rawValue | SOCK_NONBLOCK.rawValue
  let descriptor = socket(AF_UNIX, CInt(type), 0)
  guard descriptor >= 0 else { return -errno }
  guard unsafe address.call({ unsafe bind(descriptor, $0, $1) }) == 0 else {
    return closeAfterFailure(descriptor)
  }
  // A connect() fails until listen() is called.
  // If another user put a symbolic link in place of the socket, its target keeps its mode.
  let (mode, flags) = (permissions.rawValue, AT_SYMLINK_NOFOLLOW)
  guard unsafe path.withPlatformString({ unsafe fchmodat(AT_FDCWD, $0, mode, flags) }) == 0,
    listen(descriptor, 64) == 0
  else {
    let code = closeAfterFailure(descriptor)
    _ = removeSocket(path)
    return code
  }
  return descriptor
}

/// Closes the socket that a call failed for, and returns that call's error.
private func closeAfterFailure(_ descriptor: CInt) -> CInt {
  let code = -errno
  closeDescriptor(descriptor)
  return code
}

extension sockaddr_un {
  /// `nil` if the path is too long.
  fileprivate init?(_ path: FilePath) {
    self.init()
    guard path.length < MemoryLayout.size(ofValue: sun_path) else { return nil }
    sun_family = sa_family_t(AF_UNIX)
    unsafe path.withPlatformString { source in
      unsafe withUnsafeMutableBytes(of: &sun_path) {
        unsafe $0.copyMemory(from: UnsafeRawBufferPointer(start: source, count: path.length))
      }
    }
  }

  fileprivate func call(_ body: (UnsafePointer<sockaddr>, socklen_t) -> CInt) -> CInt {
    let size = socklen_t(MemoryLayout<Self>.size)
    return unsafe withUnsafePointer(to: self) {
      unsafe $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, size) }
    }
  }
}

/// Waits for one of the events until a time of the monotonic clock in milliseconds. Signals do not extend the time.
func awaitEvents(_ events: CInt, of socket: CInt, until deadline: Int) {
  var entries = [pollfd(fd: socket, events: Int16(events), revents: 0)]
  while true {
    let rest = max(0, deadline - milliseconds())
    let code = pollDescriptors(&entries, milliseconds: CInt(clamping: rest))
    guard code == -EINTR || code == 0 && rest > 0 else { return }
  }
}

/// Whether the other side has received all that was sent to it; false if the kernel cannot tell.
func isAllReceived(_ socket: CInt) -> Bool {
  var bytes: CInt = 0
  // SIOCOUTQ, by the name that Glibc's module has.
  return unsafe ioctl(socket, UInt(TIOCOUTQ), &bytes) == 0 && bytes <= 0
}

/// Whether it is a Unix socket of type `SOCK_SEQPACKET` that listens.
func isListeningSocket(_ socket: CInt) -> Bool {
  func option(_ name: CInt) -> CInt? {
    var value: CInt = 0
    var size = socklen_t(MemoryLayout.size(ofValue: value))
    return unsafe getsockopt(socket, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
  }
  return option(SO_DOMAIN) == AF_UNIX && option(SO_TYPE) == CInt(SOCK_SEQPACKET.rawValue)
    && option(SO_ACCEPTCONN) == 1
}

/// Whether the other side has closed its end.
func isHungUp(_ socket: CInt) -> Bool {
  let closed: CInt = 0x2000  // POLLRDHUP, which Glibc's module does not have
  var entry = pollfd(fd: socket, events: Int16(closed), revents: 0)
  return unsafe poll(&entry, 1, 0) > 0
    && CInt(entry.revents) & (POLLHUP | closed | POLLERR | POLLNVAL) != 0
}

/// The user who owns the socket at a path; `nil` if there is none.
func ownerOfSocket(_ path: FilePath) -> uid_t? {
  var status = stat()
  guard unsafe path.withPlatformString({ unsafe lstat($0, &status) }) == 0,
    status.st_mode & S_IFMT == S_IFSOCK
  else { return nil }
  return status.st_uid
}

/// - Returns: Whether it was removed.
func removeSocket(_ path: FilePath) -> Bool {
  unsafe path.withPlatformString { unsafe unlink($0) } == 0
}

/// Sends a message without blocking, and returns its size.
func sendMessage(_ socket: CInt, _ bytes: [UInt8], descriptors: [CInt] = []) -> Int {
  unsafe mms_send_message(socket, bytes, bytes.count, descriptors, descriptors.count, 0)
}

/// Receives a message of at most `limit` bytes without blocking, and returns its size. The caller
/// closes the descriptors. A message without bytes may contain descriptors. Descriptors are rejected
/// unless `takingDescriptors`.
func receiveMessage(
  _ socket: CInt,
  atMost limit: Int,
  takingDescriptors: Bool
) -> (size: Int, bytes: [UInt8], descriptors: [CInt]) {
  var bytes = [UInt8](repeating: 0, count: limit)
  var descriptors = [CInt](
    repeating: -1,
    count: takingDescriptors ? Int(MMS_MAX_DESCRIPTORS) : 0
  )
  var count = descriptors.count
  let size = unsafe mms_receive_message(socket, &bytes, bytes.count, &descriptors, &count, 0)
  return (size, Array(bytes.prefix(max(size, 0))), Array(descriptors.prefix(count)))
}

extension BrokerPeer {
  /// The peer process; `nil` if it has ended.
  init?(of socket: CInt) {
    self.init(user: .max, group: .max, supplementaryGroups: [], process: 0)
    guard unsafe mms_peer(socket, &user, &group, &process) == 0 else { return nil }
    var groups = [UInt32](repeating: 0, count: 65_536)
    let stride = MemoryLayout<UInt32>.stride
    var size = socklen_t(groups.count * stride)
    if unsafe getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, &groups, &size) == 0 {
      supplementaryGroups = Array(groups.prefix(Int(size) / stride))
    }
  }
}

/// The time of the monotonic clock in milliseconds.
func milliseconds() -> Int { nanoseconds(of: CLOCK_MONOTONIC) / 1_000_000 }
