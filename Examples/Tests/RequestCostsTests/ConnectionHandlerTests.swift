// SPDX-License-Identifier: Apache-2.0
import HTTPTypes
import Hummingbird
import HummingbirdCore
import Logging
import MmapStorageTesting
import NIOCore
import NIOEmbedded
import NIOHTTPTypes
import RequestCosts
import Synchronization
import Testing

/// The handlers of a connection, with sequences that Hummingbird does not produce.
@Suite struct ConnectionHandlerTests {
  @Test func eachResponseOfAFlushIsWrittenForItsRequest() async throws {
    try await TestConnection.run { connection in
      let recorder = connection.recorder
      try await connection.read(requests: 3)
      for body in ["one", "", "three"] { connection.write(body: body) }
      await connection.settle()
      #expect(recorder.written.isEmpty)
      connection.channel.flush()
      await connection.settle()
      #expect(recorder.read == [1, 2, 3])
      #expect(recorder.written == [1, 1, 1, 2, 2, 3, 3, 3])
      // A response that is not complete, and then the rest of it and another.
      try await connection.read(requests: 2)
      connection.write(.head(HTTPResponse(status: .ok)))
      connection.channel.flush()
      connection.write(.end(nil))
      connection.write(body: "")
      connection.channel.flush()
      await connection.settle()
      #expect(recorder.written.dropFirst(8) == [4, 4, 5, 5])
    }
  }

  /// The same as without the handlers.
  @Test func writesWithoutAFlushFailWhenTheChannelIsClosed() async throws {
    try await TestConnection.run { connection in
      try await connection.read(requests: 1)
      let writes = [HTTPResponsePart.head(HTTPResponse(status: .ok)), .end(nil)].map {
        connection.channel.write($0)
      }
      try await connection.channel.close()
      for write in writes {
        await #expect(throws: ChannelError.ioOnClosedChannel) { try await write.get() }
      }
      #expect(connection.recorder.written.isEmpty)
    }
  }
}

/// A connection without a socket, whose responses the test writes.
private struct TestConnection {
  let channel: NIOAsyncTestingChannel
  let recorder: Recorder

  static func run(_ body: (TestConnection) async throws -> Void) async throws {
    let logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() })
    let tasks = try FakeSwiftTasks<RequestValue>()
    let connection = TestConnection(channel: NIOAsyncTestingChannel(), recorder: Recorder(tasks))
    let channel = connection.channel
    let child = CountedHTTP1Channel(
      costs: RequestCosts(.fake(tasks.storage), logger: logger),
      configuration: .init(additionalChannelHandlers: [connection.recorder]),
      responder: { _, _, _ in }
    )
    let value = try await channel.testingEventLoop.flatSubmit {
      child.setup(channel: channel, logger: logger)
    }.get()
    try await channel.connect(to: SocketAddress(ipAddress: "127.0.0.1", port: 80))
    async let served: Void = child.handle(value: value, logger: logger)
    var failure: (any Error)?
    do { try await body(connection) } catch { failure = error }
    try? await channel.close()
    await served
    if let failure { throw failure }
  }

  /// One read returns all of them.
  func read(requests: Int) async throws {
    let text = String(repeating: "GET / HTTP/1.1\r\nHost: a\r\n\r\n", count: requests)
    try await channel.writeInbound(ByteBuffer(string: text))
  }

  func write(body: String) {
    write(.head(HTTPResponse(status: .ok)))
    if !body.isEmpty { write(.body(ByteBuffer(string: body))) }
    write(.end(nil))
  }

  func write(_ part: HTTPResponsePart) { channel.write(part, promise: nil) }

  /// Waits until the event loop has run all earlier jobs.
  func settle() async { await channel.testingEventLoop.run() }
}

/// The requests in whose scopes parts are read and written.
private final class Recorder: ChannelDuplexHandler, RemovableChannelHandler, Sendable {
  typealias InboundIn = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart

  private let tasks: FakeSwiftTasks<RequestValue>
  private let ids = Mutex<(read: [UInt64], written: [UInt64])>(([], []))

  init(_ tasks: FakeSwiftTasks<RequestValue>) { self.tasks = tasks }

  var read: [UInt64] { ids.withLock { $0.read } }
  var written: [UInt64] { ids.withLock { $0.written } }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    context.fireChannelRead(data)
    guard case .head = unwrapInboundIn(data) else { return }
    tasks.program { value in ids.withLock { $0.read.append(value.id) } }
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    tasks.program { value in ids.withLock { $0.written.append(value.id) } }
    context.write(data, promise: promise)
  }
}
