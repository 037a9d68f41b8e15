// SPDX-License-Identifier: Apache-2.0
import NIOCore
import NIOHTTP1
import NIOPosix
import Synchronization

/// Sends requests to a server on the loopback interface, for a limited time and number of requests.
public struct LoadGenerator: Sendable {
  /// The server's port on 127.0.0.1.
  public var port: Int
  /// Paths, in turn.
  public var paths: [String]
  /// Connections, each of which sends one request at a time.
  public var connections: Int
  /// The maximum number of requests.
  public var requests: Int
  /// The maximum duration.
  public var duration: Duration

  /// Creates a load.
  public init(
    port: Int,
    paths: [String],
    connections: Int = 16,
    requests: Int,
    duration: Duration
  ) {
    self.port = port
    self.paths = paths
    self.connections = connections
    self.requests = requests
    self.duration = duration
  }

  /// Sends the requests.
  ///
  /// - Returns: The number of responses with status 200, and of others.
  /// - Throws: Errors of the connections.
  public func run() async throws -> (succeeded: Int, failed: Int) {
    let counts = Counts()
    let end = ContinuousClock.now.advanced(by: duration)
    try await withThrowingDiscardingTaskGroup { group in
      for _ in 0..<connections {
        group.addTask {
          try await connect().executeThenClose { inbound, outbound in
            var responses = inbound.makeAsyncIterator()
            while ContinuousClock.now < end, !Task.isCancelled {
              let number = counts.sent.add(1, ordering: .relaxed).oldValue
              guard number < requests else { break }
              try await outbound.write(.head(head(paths[number % paths.count])))
              try await outbound.write(.end(nil))
              var status: HTTPResponseStatus?
              response: while let part = try await responses.next() {
                switch part {
                case .head(let head): status = head.status
                case .body: break
                case .end: break response
                }
              }
              counts.count(status)
              if status == nil { break }
            }
          }
        }
      }
    }
    return (counts.succeeded.load(ordering: .relaxed), counts.failed.load(ordering: .relaxed))
  }

  private func head(_ path: String) -> HTTPRequestHead {
    HTTPRequestHead(version: .http1_1, method: .GET, uri: path, headers: ["host": "127.0.0.1"])
  }

  private final class Counts: Sendable {
    let sent = Atomic<Int>(0)
    let succeeded = Atomic<Int>(0)
    let failed = Atomic<Int>(0)

    func count(_ status: HTTPResponseStatus?) {
      if status == .ok {
        succeeded.add(1, ordering: .relaxed)
      } else {
        failed.add(1, ordering: .relaxed)
      }
    }
  }

  private func connect() async throws -> NIOAsyncChannel<
    HTTPClientResponsePart, HTTPClientRequestPart
  > {
    try await ClientBootstrap(group: NIOSingletons.posixEventLoopGroup)
      .connect(host: "127.0.0.1", port: port) { channel in
        channel.eventLoop.makeCompletedFuture {
          try channel.pipeline.syncOperations.addHTTPClientHandlers()
          return try NIOAsyncChannel(wrappingChannelSynchronously: channel)
        }
      }
  }
}
