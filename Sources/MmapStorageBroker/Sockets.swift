// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

// Calls of sockets, with Swift types. Invariant: pointers are lent for one call, with the number of bytes
// or elements that they point to. On failure each returns a negative error number.

/// Connects. Blocking calls wait for at most `timeout` milliseconds.
func connectSocket(to path: FilePath, timeout: UInt32) -> CInt {
  unsafe path.withPlatformString { unsafe mms_unix_connect($0, timeout) }
}

/// Creates a socket of type `SOCK_SEQPACKET`, and listens.
func listenOnSocket(at path: FilePath, _ permissions: FilePermissions) -> CInt {
  unsafe path.withPlatformString { unsafe mms_unix_listen($0, permissions.rawValue) }
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

/// Sends a message, and returns its size.
func sendMessage(
  _ socket: CInt,
  _ bytes: [UInt8],
  descriptors: [CInt] = [],
  waiting: Bool
) -> Int {
  unsafe mms_send_message(
    socket,
    bytes,
    bytes.count,
    descriptors,
    descriptors.count,
    waiting ? 1 : 0
  )
}

/// Receives a message of at most `limit` bytes, and returns its size. The caller closes the
/// descriptors. A message without bytes may contain descriptors. Descriptors are rejected unless
/// `takingDescriptors`.
func receiveMessage(
  _ socket: CInt,
  atMost limit: Int,
  takingDescriptors: Bool,
  waiting: Bool
) -> (size: Int, bytes: [UInt8], descriptors: [CInt]) {
  var bytes = [UInt8](repeating: 0, count: limit)
  var descriptors = [CInt](
    repeating: -1,
    count: takingDescriptors ? Int(MMS_MAX_DESCRIPTORS) : 0
  )
  var count = descriptors.count
  let size = unsafe mms_receive_message(
    socket,
    &bytes,
    bytes.count,
    &descriptors,
    &count,
    waiting ? 1 : 0
  )
  return (size, Array(bytes.prefix(max(size, 0))), Array(descriptors.prefix(count)))
}

extension BrokerPeer {
  /// The peer process; `nil` if it has ended.
  init?(of socket: CInt) {
    self.init(user: .max, group: .max, supplementaryGroups: [], process: 0)
    guard unsafe mms_peer(socket, &user, &group, &process) == 0 else { return nil }
    var groups = [UInt32](repeating: 0, count: 65_536)
    var count = groups.count
    if unsafe mms_peer_groups(socket, &groups, &count) == 0 {
      supplementaryGroups = Array(groups.prefix(count))
    }
  }
}

/// The time of the monotonic clock in milliseconds.
func milliseconds() -> Int { nanoseconds(of: CLOCK_MONOTONIC) / 1_000_000 }
