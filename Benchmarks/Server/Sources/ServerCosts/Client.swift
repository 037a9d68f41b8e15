// SPDX-License-Identifier: Apache-2.0
import Glibc
import Synchronization

/// Sends requests over connections that stay open, each on a separate thread.
final class Client: Sendable {
  struct Failed: Error {}

  private let sockets: [CInt]

  init(port: Int, connections: Int) throws {
    sockets = try (0..<connections).map { _ in
      let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
      var address = sockaddr_in()
      address.sin_family = sa_family_t(AF_INET)
      address.sin_port = in_port_t(port).bigEndian
      address.sin_addr.s_addr = in_addr_t(0x7f00_0001).bigEndian
      let code = withUnsafeBytes(of: &address) {
        connect(descriptor, $0.baseAddress?.assumingMemoryBound(to: sockaddr.self), 16)
      }
      guard code == 0 else { throw Failed() }
      return descriptor
    }
  }

  /// Sends `count` requests for a path. Returns the processor time of the process for each in
  /// nanoseconds, without the threads of this client.
  func run(_ path: String, _ count: Int) throws -> Double {
    let left = Atomic<Int>(count)
    let client = Atomic<UInt64>(0)
    let failures = Atomic<Int>(0)
    let before = now(CLOCK_PROCESS_CPUTIME_ID)
    try withThreads(sockets) { descriptor in
      let request = Array("GET \(path) HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".utf8)
      var response = [UInt8](repeating: 0, count: 4096)
      while left.subtract(1, ordering: .relaxed).newValue >= 0 {
        let sent = send(descriptor, request, request.count, 0)
        // The response arrives in one piece or in two, and ends with the body.
        var received = 0
        repeat {
          let piece = response.withUnsafeMutableBytes { bytes in
            recv(descriptor, bytes.baseAddress.map { $0 + received }, bytes.count - received, 0)
          }
          if piece <= 0 { break }
          received += piece
        } while !response.prefix(received).suffix(6).elementsEqual("Hello\n".utf8)
        if sent != request.count || !response.starts(with: "HTTP/1.1 200".utf8) {
          failures.add(1, ordering: .relaxed)
        }
      }
      client.add(now(CLOCK_THREAD_CPUTIME_ID), ordering: .relaxed)
    }
    let used = now(CLOCK_PROCESS_CPUTIME_ID) - before - client.load(ordering: .relaxed)
    guard failures.load(ordering: .relaxed) == 0 else { throw Failed() }
    return Double(used) / Double(count)
  }
}

private func now(_ clock: clockid_t) -> UInt64 {
  var time = timespec()
  clock_gettime(clock, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Runs `body` for each value on a separate thread, and waits for all.
private func withThreads(_ values: [CInt], _ body: @escaping @Sendable (CInt) -> Void) throws {
  final class Start {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }
  let threads = try values.map { value in
    var thread = pthread_t()
    let start = Unmanaged.passRetained(Start { body(value) })
    let code = pthread_create(
      &thread,
      nil,
      { start in
        start.map { Unmanaged<Start>.fromOpaque($0).takeRetainedValue() }?.run()
        return nil
      },
      start.toOpaque()
    )
    guard code == 0 else { throw Client.Failed() }
    return thread
  }
  for thread in threads { pthread_join(thread, nil) }
}
