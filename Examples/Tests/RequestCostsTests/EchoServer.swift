// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc

/// Echoes data on TCP connections, on threads that serve no request.
final class EchoServer: Sendable {
  private let listener: CInt
  private let port: Int

  init() throws {
    let listener = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
    var size = socklen_t(MemoryLayout<sockaddr_in>.size)
    let code = withUnsafeMutablePointer(to: &address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        bind(listener, address, size) == 0 && listen(listener, 64) == 0
          && getsockname(listener, address, &size) == 0 ? 0 : errno
      }
    }
    guard code == 0 else {
      close(listener)
      throw POSIXError(POSIXError.Code(rawValue: code) ?? .EINVAL)
    }
    self.listener = listener
    port = Int(UInt16(bigEndian: address.sin_port))
    Thread.detachNewThread {
      while true {
        let connection = accept(listener, nil, nil)
        guard connection >= 0 else { return }
        Thread.detachNewThread {
          var bytes = [UInt8](repeating: 0, count: 4096)
          while true {
            let count = recv(connection, &bytes, bytes.count, 0)
            guard count > 0, sendAll(connection, bytes.prefix(count)) else { break }
          }
          close(connection)
        }
      }
    }
  }

  deinit {
    shutdown(listener, CInt(SHUT_RDWR))
    close(listener)
  }

  /// Sends and receives this many bytes on a new connection, on the calling thread.
  func exchange(_ count: Int) throws -> Bool {
    guard let client = connect(port) else { return false }
    defer { close(client) }
    var bytes = [UInt8](repeating: 7, count: 1000)
    var left = count
    while left > 0 {
      let part = min(left, bytes.count)
      guard sendAll(client, bytes.prefix(part)) else { return false }
      var received = 0
      while received < part {
        let more = recv(client, &bytes, part - received, 0)
        guard more > 0 else { return false }
        received += more
      }
      left -= part
    }
    return true
  }
}

private func sendAll(_ connection: CInt, _ bytes: ArraySlice<UInt8>) -> Bool {
  var rest = bytes
  while !rest.isEmpty {
    let count = rest.withUnsafeBytes {
      send(connection, $0.baseAddress, $0.count, CInt(MSG_NOSIGNAL))
    }
    guard count > 0 else { return false }
    rest = rest.dropFirst(count)
  }
  return true
}
