// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hummingbird
import MmapStorageTesting
import NIOCore
import NIOHTTPTypes
import RequestCosts
import Testing

/// The work of event loops for requests, outside of their Swift tasks: the kernel's count for each
/// request against the bytes that its client sent and received.
@Suite(.serialized) struct EventLoopTests {
  private struct Traffic: Equatable {
    var received: UInt64
    var sent: UInt64

    init(received: Int, sent: Int) {
      self.received = UInt64(received)
      self.sent = UInt64(sent)
    }

    init(_ request: CostsReport.Request) {
      received = request.costs.tcpReceived
      sent = request.costs.tcpSent
    }
  }

  private static func addRoutes(_ router: Router<BasicRequestContext>) {
    router.get("plain") { _, _ in "done" }
    router.get("bytes/:count/:client") { _, context in
      String(repeating: "x", count: try context.parameters.require("count", as: Int.self))
    }
    router.get("stream/:parts/:size") { _, context in
      let parts = try context.parameters.require("parts", as: Int.self)
      let part = ByteBuffer(
        repeating: 120,
        count: try context.parameters.require("size", as: Int.self)
      )
      return Response(
        status: .ok,
        body: ResponseBody(contentLength: parts * part.readableBytes) { writer in
          for _ in 0..<parts { try await writer.write(part) }
          try await writer.finish(nil)
        }
      )
    }
    router.post("body/:client") { request, _ in
      let body = try await request.body.collect(upTo: 1 << 20)
      return "\(body.readableBytes)"
    }
  }

  @Test(.liveKernel, .tcpTracepoints)
  func bytesOfRequestsAndResponses() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      try await server.warmUp()
      // The largest do not fit into the buffers of a socket.
      let sizes = [0, 10, 5000, 300_000, 8_000_000]
      let clients = try await withThrowingTaskGroup(of: [(String, Traffic)].self) { group in
        for client in 0..<16 {
          group.addTask {
            try await onThread {
              let connection = try RawClient(server.port)
              return try (0..<10).map { number in
                let path = "/bytes/\(sizes[number % sizes.count])/\(client)"
                let field = String(repeating: "y", count: client * 10 + number)
                let text = "GET \(path)?\(number) HTTP/1.1\r\nHost: a\r\nField: \(field)\r\n\r\n"
                try connection.send(text)
                let count = try connection.receive()
                return (path, Traffic(received: text.utf8.count, sent: count))
              }
            }
          }
        }
        return try await group.reduce(into: []) { $0 += $1 }
      }
      try await wait("all requests are finished") { server.finished.all.count == 160 }
      for (path, requests) in Dictionary(grouping: clients, by: \.0) {
        let counted = server.finished.all.filter { $0.path == path }.map { Traffic($0) }
        #expect(
          counted.sorted { $0.received < $1.received }
            == requests.map(\.1).sorted { $0.received < $1.received },
          "\(path)"
        )
      }
      // At least a read and a write.
      for request in server.finished.all { #expect(request.costs.calls["io"] ?? 0 >= 2) }
    }
  }

  /// Parts of a response are written while the socket has not accepted earlier ones.
  @Test(.liveKernel, .tcpTracepoints)
  func aResponseInPartsToASlowClient() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      try await server.warmUp()
      let paths = ["/stream/1024/16384", "/stream/256/65536", "/stream/4/4000000"]
      let sent = try await onThread {
        let connection = try RawClient(server.port)
        return try paths.map { path in
          try connection.send("GET \(path) HTTP/1.1\r\nHost: a\r\n\r\n")
          return UInt64(try connection.receive(pause: 300))
        }
      }
      try await wait("the requests are finished") { server.finished.all.count == paths.count }
      let requests = server.finished.all.sorted { $0.id < $1.id }
      #expect(requests.map(\.path) == paths)
      #expect(requests.map(\.costs.tcpSent) == sent)
    }
  }

  /// Also the first read of an event loop.
  @Test(.liveKernel, .tcpTracepoints)
  func theFirstRequestOfAnEventLoop() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      let text = "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n"
      let sent = try await onThread {
        let connection = try RawClient(server.port)
        try connection.send(text)
        return try connection.receive()
      }
      try await wait("the request is finished") { server.finished.all.count == 1 }
      #expect(
        server.finished.all.map { Traffic($0) }
          == [Traffic(received: text.utf8.count, sent: sent)]
      )
    }
  }

  @Test(.liveKernel, .tcpTracepoints)
  func aBodyInPartsIsItsRequests() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      try await server.warmUp()
      let (received, sent) = try await onThread {
        let connection = try RawClient(server.port)
        let head = "POST /body/1 HTTP/1.1\r\nHost: a\r\nContent-Length: 300000\r\n\r\n"
        let part = String(repeating: "z", count: 100_000)
        // The head comes in two reads, if the server is quick.
        try connection.send(String(head.prefix(20)))
        usleep(20_000)
        try connection.send(String(head.dropFirst(20)))
        for _ in 0..<3 { try connection.send(part) }
        return (head.utf8.count + 300_000, try connection.receive())
      }
      try await wait("the request is finished") { server.finished.all.count == 1 }
      let request = try #require(server.finished.all.first)
      #expect(request.route == "POST /body/{client}" && request.status == 200)
      #expect(Traffic(request) == Traffic(received: received, sent: sent))
    }
  }

  @Test(.liveKernel, .tcpTracepoints)
  func pipelinedRequests() async throws {
    try await TestServer.run(.loading()) { server in
      try await server.warmUp()
      let text = ["/calls/3", "/calls/50", "/calls/0"].map {
        "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n"
      }
      let sent = try await onThread {
        let connection = try RawClient(server.port)
        try connection.send(text.joined())
        return try text.map { _ in try connection.receive() }
      }
      try await wait("the requests are finished") { server.finished.all.count == 3 }
      let requests = server.finished.all.sorted { $0.id < $1.id }
      #expect(requests.map(\.path) == ["/calls/3", "/calls/50", "/calls/0"])
      #expect(requests.map { $0.costs.calls["process"] ?? 0 } == [3, 50, 0])
      #expect(requests.map(\.costs.tcpSent) == sent.map { UInt64($0) })
      // They came in one read.
      #expect(requests.map(\.costs.tcpReceived) == [UInt64(text.joined().utf8.count), 0, 0])
    }
  }

  /// The costs of a response that waits for another one are not attributed separately, and not
  /// lost.
  @Test(.liveKernel, .tcpTracepoints)
  func responsesBehindOneThatTheSocketHasToAccept() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      try await server.warmUp()
      let before = try #require(server.costs.report().outside)
      let paths = ["/bytes/8000000/1", "/plain", "/bytes/4000000/2", "/plain"]
      let text = paths.map { "GET \($0) HTTP/1.1\r\nHost: a\r\n\r\n" }.joined()
      let sent = try await onThread {
        let connection = try RawClient(server.port)
        try connection.send(text)
        return try paths.map { _ in UInt64(try connection.receive(pause: 300)) }
      }
      try await wait("the requests are finished") { server.finished.all.count == paths.count }
      let after = try #require(server.costs.report().outside)
      let requests = server.finished.all.sorted { $0.id < $1.id }
      #expect(requests[0].costs.tcpSent >= sent[0])
      let counted = requests.reduce(after.tcpSent - before.tcpSent) { $0 + $1.costs.tcpSent }
      // The client is in the same process.
      #expect(counted == sent.reduce(UInt64(text.utf8.count), +))
    }
  }

  @Test(.liveKernel, .tcpTracepoints)
  func connectionsThatCloseHalfWay() async throws {
    try await TestServer.run(.loading(), routes: Self.addRoutes) { server in
      try await server.warmUp()
      let before = try #require(server.costs.report().outside)
      // Half of a head belongs to no request.
      let half = "GET /bytes/1/1 HTTP/1.1\r\nField: " + String(repeating: "x", count: 4000)
      try await onThread {
        let connection = try RawClient(server.port)
        try connection.send(half)
      }
      try await wait("what came is counted outside of requests") {
        let outside = try #require(server.costs.report().outside)
        return outside.tcpReceived - before.tcpReceived == UInt64(half.utf8.count)
      }
      #expect(server.finished.all.isEmpty)

      // The client does not receive the response.
      try await onThread {
        let connection = try RawClient(server.port)
        try connection.send("GET /bytes/30000000/2 HTTP/1.1\r\nHost: a\r\n\r\n")
      }
      try await wait("the request is finished") { server.finished.all.count == 1 }
      let costs = try #require(server.finished.all.first?.costs)
      #expect(costs.tcpSent > 0 && costs.tcpSent < 30_000_000)
      #expect(server.costs.report().running == 0)
    }
  }

  @Test func requestsThatAreNotCountedAreOutside() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage)) { server in
      _ = try await server.get("/plain")
      for _ in 0..<3 { _ = try await server.get("/costs.json") }
      try await wait("the request is finished") { server.finished.all.count == 1 }
      let report = server.costs.report()
      #expect(report.routes.map(\.route) == ["GET /plain"])
      #expect(report.routes.map(\.requests) == [1])
      #expect(report.running == 0)
    }
  }

  /// Channel handlers of the application are also in the scopes.
  @Test func handlersOfTheApplication() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      channel: .init(additionalChannelHandlers: [Counter(tasks)])
    ) { server in
      try await server.load(["/plain", "/stream"], requests: 200)
      for route in ["GET /plain", "GET /stream"] {
        let costs = try server.route(route).costs
        #expect(costs.calls == ["file": 100, "socket": 100])
      }
      // Several in one read.
      server.finished.removeAll()
      try await onThread {
        let connection = try RawClient(server.port)
        try connection.send(String(repeating: "GET /plain HTTP/1.1\r\nHost: a\r\n\r\n", count: 5))
        for _ in 0..<5 { _ = try connection.receive() }
      }
      try await wait("the requests are finished") { server.finished.all.count == 5 }
      for request in server.finished.all {
        #expect(request.costs.calls == ["file": 1, "socket": 1])
      }
    }
  }

  /// A request ends with its connection, even if work that it started continues.
  @Test func aConnectionThatClosesEndsItsRequest() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    let (gate, opener) = AsyncStream.makeStream(of: Never.self)
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        router.get("endless") { _, _ in
          Task { for await _ in gate {} }
          return Response(
            status: .ok,
            body: ResponseBody { writer in
              while true { try await writer.write(ByteBuffer(repeating: 0, count: 65536)) }
            }
          )
        }
      }
    ) { server in
      try await onThread {
        let connection = try RawClient(server.port)
        try connection.send("GET /endless HTTP/1.1\r\nHost: a\r\n\r\n")
      }
      try await wait("the request is finished") { server.finished.all.count == 1 }
      opener.finish()
    }
  }

  @Test func serversThatAreNotCounted() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage), countsEventLoops: false) { server in
      try await server.load(["/plain", "/stream"], requests: 200)
      #expect(try server.route("GET /plain").requests == 100)
      #expect(try server.route("GET /stream").requests == 100)
    }
  }
}

/// Acts as the program at the ends of requests and responses.
final class Counter: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart

  private let tasks: FakeSwiftTasks<RequestValue>

  init(_ tasks: FakeSwiftTasks<RequestValue>) { self.tasks = tasks }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    if case .end = unwrapInboundIn(data) { count(.file) }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    if case .end = unwrapOutboundIn(data) { count(.socket) }
    context.write(data, promise: promise)
  }

  private func count(_ kind: SystemCallClass) {
    tasks.program { value in
      var new = value.load()
      new.costs.calls[kind.rawValue] += 1
      value.store(new)
    }
  }
}
