// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Testing

/// A connection to a local server that records all bytes sent and received.
final class RawClient {
  private let connection: CInt
  /// The bytes received after the last response.
  private var rest: [UInt8] = []

  init(_ port: Int) throws { connection = try #require(connect(port)) }

  deinit { Glibc.close(connection) }

  /// Sends bytes in one call.
  func send(_ text: String) throws {
    let bytes = Array(text.utf8)
    try #require(Glibc.send(connection, bytes, bytes.count, CInt(MSG_NOSIGNAL)) == bytes.count)
  }

  /// Receives a response.
  ///
  /// - Parameter pause: Microseconds to wait before each further read of its body.
  /// - Returns: The number of its bytes.
  /// - Throws: If the server closes the connection.
  func receive(pause: UInt32 = 0) throws -> Int {
    let end = Array("\r\n\r\n".utf8)
    var head: Int?
    while head == nil {
      head = rest.indices.first { rest[$0...].starts(with: end) }.map { $0 + end.count }
      if head == nil { try receiveMore() }
    }
    let text = String(decoding: rest.prefix(head ?? 0), as: UTF8.self).lowercased()
    let field = try #require(
      text.split(separator: "\r\n").first { $0.hasPrefix("content-length:") },
      "\(text)"
    )
    let body = try #require(Int(field.split(separator: " ")[1]))
    let count = (head ?? 0) + body
    while rest.count < count {
      if pause > 0 { usleep(pause) }
      try receiveMore()
    }
    rest.removeFirst(count)
    return count
  }

  private func receiveMore() throws {
    var bytes = [UInt8](repeating: 0, count: 65536)
    let count = recv(connection, &bytes, bytes.count, 0)
    try #require(count > 0, "the server closed the connection")
    rest += bytes.prefix(count)
  }
}

/// Runs blocking code on a separate thread.
func onThread<Result: Sendable>(
  _ body: @escaping @Sendable () throws -> Result
) async throws -> Result {
  try await withCheckedThrowingContinuation { continuation in
    Thread.detachNewThread { continuation.resume(with: Swift.Result { try body() }) }
  }
}
