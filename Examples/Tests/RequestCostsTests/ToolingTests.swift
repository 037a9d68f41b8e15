// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hummingbird
import Instrumentation
import Metrics
import MetricsTestKit
import MmapStorageTesting
import RequestCosts
import RequestCostsDemo
import ServiceContextModule
import Synchronization
import Testing

/// The data for other packages: the application's metrics, and the trace of its tracer.
@Suite struct ToolingTests {
  private static let metrics: TestMetrics = {
    let metrics = TestMetrics()
    MetricsSystem.bootstrap(metrics)
    return metrics
  }()

  @Test func eachFigureIsAMetricOfItsRoute() async throws {
    let metrics = Self.metrics
    let durations = Mutex<[Int64]>([])
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        router.get("measured") { _, _ in
          tasks.program { value in
            var new = value.load()
            new.costs.userTime += 1
            new.costs.kernelTime += 2
            new.costs.runQueueTime += 3
            new.costs.blockedTime[BlockingCause.futex.rawValue] += 4
            new.costs.calls[SystemCallClass.file.rawValue] += 5
            new.costs.callTime[SystemCallClass.file.rawValue] += 6
            new.costs.pageFaults += 7
            new.costs.bytesRead += 8
            new.costs.bytesWritten += 9
            new.costs.tcpReceived += 10
            new.costs.tcpSent += 11
            value.store(new)
          }
          return "done"
        }
      }
    ) { server in
      try await server.load(["/measured"], requests: 20)
      durations.withLock { $0 = server.finished.all.map { Int64($0.nanoseconds) } }
    }
    for (name, key, value, perRequest) in [
      ("cpu_nanoseconds", "mode", "user", 1), ("cpu_nanoseconds", "mode", "kernel", 2),
      ("run_queue_nanoseconds", "", "", 3), ("blocked_nanoseconds", "cause", "futex", 4),
      ("system_calls", "class", "file", 5), ("system_call_nanoseconds", "class", "file", 6),
      ("page_faults", "", "", 7), ("read_bytes", "", "", 8), ("written_bytes", "", "", 9),
      ("tcp_received_bytes", "", "", 10), ("tcp_sent_bytes", "", "", 11),
    ] as [(String, String, String, Int64)] {
      let dimensions = [("route", "GET /measured")] + (key.isEmpty ? [] : [(key, value)])
      let counter = try metrics.expectCounter("request_costs_\(name)", dimensions)
      #expect(counter.totalValue == 20 * perRequest, "\(name) \(value)")
    }
    let timer = try metrics.expectTimer(
      "request_costs_duration",
      [("route", "GET /measured")]
    )
    #expect(timer.values.sorted() == durations.withLock { $0 }.sorted())
  }

  @Test func workAfterTheResponseIsInTheMetrics() async throws {
    let metrics = Self.metrics
    let tasks = try FakeSwiftTasks<RequestValue>()
    let (gate, opener) = AsyncStream.makeStream(of: Never.self)
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        router.get("late") { _, _ in
          Task {
            for await _ in gate {}
            tasks.program { value in
              var new = value.load()
              new.costs.calls[SystemCallClass.file.rawValue] += 5
              value.store(new)
            }
          }
          return "done"
        }
      }
    ) { server in
      try await server.load(["/late"], requests: 1)
      #expect(server.finished.all.map(\.costs.calls) == [[:]])
      opener.finish()
      try await wait("the route has all calls") {
        try server.route("GET /late").costs.calls == ["file": 5]
      }
    }
    let counter = try metrics.expectCounter(
      "request_costs_system_calls",
      [("route", "GET /late"), ("class", "file")]
    )
    #expect(counter.totalValue == 5)
  }

  @Test func theTraceOfTheTracerWins() async throws {
    InstrumentationSystem.bootstrap(Tracer())
    let own = "0af7651916cd43dd8448eb211c80319c"
    let clients = "4bf92f3577b34da6a3ce929d0e0e4736"
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      before: { router in
        router.add(middleware: Traced(path: "/plain", id: own))
        router.add(middleware: Traced(path: "/file", id: String(repeating: "0", count: 32)))
      }
    ) { server in
      for path in ["/plain", "/group", "/file"] {
        _ = try await server.get(path, ["traceparent": "00-\(clients)-00f067aa0ba902b7-01"])
      }
      try await wait("the requests are finished") { server.finished.all.count == 3 }
      // The client's field applies if the application has no trace of its own.
      #expect(server.finished.of("GET /file").first?.traceID == clients)
      #expect(server.finished.of("GET /plain").first?.traceID == own)
      #expect(server.finished.of("GET /group").first?.traceID == clients)
    }
  }

  @Test func clientsThatNeverFinish() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>(slots: 64)
    try await TestServer.run(.fake(tasks.storage)) { server in
      let begun = [
        "GET /plain HTTP/1.1\r\nHost: localhost\r\n",
        "POST /plain HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\nhalf",
        "GET /stream HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "",
      ]
      let clients = try (0..<64).map { number in
        let client = try #require(connect(server.port))
        let text = begun[number % begun.count]
        #expect(send(client, text, text.utf8.count, CInt(MSG_NOSIGNAL)) == text.utf8.count)
        return client
      }
      try await server.load(["/plain", "/group"], requests: 200)
      #expect(try server.route("GET /group").requests == 100)
      for client in clients { close(client) }
    }
  }
}

private enum TraceKey: ServiceContextKey { typealias Value = String }

/// A tracer that propagates its ids as specified by W3C Trace Context.
private struct Tracer: Instrument {
  func extract<Carrier, Extract: Extractor>(
    _ carrier: Carrier,
    into context: inout ServiceContext,
    using extractor: Extract
  ) where Extract.Carrier == Carrier {}

  func inject<Carrier, Inject: Injector>(
    _ context: ServiceContext,
    into carrier: inout Carrier,
    using injector: Inject
  ) where Inject.Carrier == Carrier {
    guard let id = context[TraceKey.self] else { return }
    injector.inject("00-\(id)-00f067aa0ba902b7-01", forKey: "Traceparent", into: &carrier)
  }
}

/// Begins a trace for the requests of a path.
private struct Traced<Context: RequestContext>: RouterMiddleware {
  let path: String
  let id: String

  func handle(
    _ request: Request,
    context: Context,
    next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    guard request.uri.path == path else { return try await next(request, context) }
    var trace = ServiceContext.topLevel
    trace[TraceKey.self] = id
    return try await ServiceContext.withValue(trace) { try await next(request, context) }
  }
}

/// Connects to a port of this machine.
func connect(_ port: Int) -> CInt? {
  let client = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_in()
  address.sin_family = sa_family_t(AF_INET)
  address.sin_port = in_port_t(port).bigEndian
  address.sin_addr.s_addr = UInt32(INADDR_LOOPBACK).bigEndian
  let result = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      Glibc.connect(client, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
    }
  }
  guard result == 0 else {
    close(client)
    return nil
  }
  return client
}
