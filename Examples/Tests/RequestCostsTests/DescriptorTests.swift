// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Hummingbird
import RequestCosts
import Testing

/// The counts for descriptors that are not of TCP, and for calls that fail.
@Suite(.liveKernel) struct DescriptorTests {
  @Test func datagramsAndFailingCalls() async throws {
    try await TestServer.run(
      .loading(),
      countsEventLoops: false,
      routes: { router in
        router.get("descriptors") { _, _ in
          try exchangeDatagram(bytes: 100)
          try Data(count: 7).write(to: URL(filePath: "/dev/null"))
          try readNothing()
          return "done"
        }
      }
    ) { server in
      try await server.load(["/descriptors"], requests: 32)
      for request in server.finished.all {
        let costs = request.costs
        // The runtime may wake an event loop by writing eight bytes.
        let others = costs.bytesWritten &- 107
        #expect(costs.bytesRead == 100 && others <= 64 && others % 8 == 0, "\(costs)")
        #expect(costs.tcpReceived == 0 && costs.tcpSent == 0)
        // read(2) also counts for files.
        #expect(costs.blockedNanoseconds["file"] == nil, "\(costs.blockedNanoseconds)")
        #expect((costs.runQueueNanoseconds > 0) == (costs.runQueueWaits > 0))
      }
      // A thread may wait for a processor until the time is over, so not every thread was blocked.
      let blocked = try server.route("GET /descriptors").costs.blockedNanoseconds
      #expect(blocked["socket"] ?? 0 > 0, "\(blocked)")
    }
  }
}

/// Sends a datagram to a socket of the same thread, by UDP.
private func exchangeDatagram(bytes count: Int) throws {
  let (from, to) = (
    socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0), socket(AF_INET, CInt(SOCK_DGRAM.rawValue), 0)
  )
  defer {
    close(from)
    close(to)
  }
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
  var size = socklen_t(MemoryLayout<sockaddr_in>.size)
  let isConnected = withUnsafeMutablePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
      bind(to, address, size) == 0 && getsockname(to, address, &size) == 0
        && connect(from, address, size) == 0
    }
  }
  try #require(isConnected)
  var bytes = [UInt8](repeating: 7, count: count)
  try #require(send(from, bytes, count, 0) == count)
  try #require(recv(to, &bytes, count, 0) == count)
}

/// Reads from a socket without data, for a hundredth of a second.
private func readNothing() throws {
  var ends: [CInt] = [-1, -1]
  try #require(socketpair(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0, &ends) == 0)
  defer { for end in ends { close(end) } }
  var limit = timeval(tv_sec: 0, tv_usec: 10_000)
  let size = socklen_t(MemoryLayout<timeval>.size)
  try #require(setsockopt(ends[0], SOL_SOCKET, SO_RCVTIMEO, &limit, size) == 0)
  var byte: UInt8 = 0
  try #require(read(ends[0], &byte, 1) == -1 && errno == EAGAIN)
}
