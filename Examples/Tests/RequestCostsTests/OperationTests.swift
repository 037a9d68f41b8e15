// SPDX-License-Identifier: Apache-2.0
import Foundation
import Hummingbird
import Logging
import MmapStorageTesting
import RequestCosts
import RequestCostsDemo
import Synchronization
import Testing

/// The logged messages.
final class TestLog: Sendable {
  private let lines = Mutex<[String]>([])

  var logger: Logger { Logger(label: "test") { _ in Handler(log: self) } }
  var all: [String] { lines.withLock { $0 } }

  private struct Handler: LogHandler {
    let log: TestLog
    var metadata: Logger.Metadata = [:]
    var logLevel = Logger.Level.warning

    subscript(metadataKey key: String) -> Logger.MetadataValue? {
      get { metadata[key] }
      set { metadata[key] = newValue }
    }

    func log(event: LogEvent) {
      log.lines.withLock { $0.append("\(event.message)") }
    }
  }
}

@Suite struct OperationTests {
  @Test func servesWithoutSlotsAndSaysSoOnce() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>(slots: 2)
    let log = TestLog()
    try await TestServer.run(.fake(tasks.storage), logger: log.logger) { server in
      try await server.load(["/sleep"], requests: 64)
      let report = server.costs.report()
      #expect(report.withoutSlot > 0)
      #expect(try server.route("GET /sleep").requests == 64)
    }
    #expect(log.all.filter { $0.contains("slots") }.count == 1)
  }

  @Test func addsWhatTheProgramSays() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    let order = Mutex(())
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        DemoServer.addRoutes(to: router) { tell in
          order.withLock { _ in
            tasks.program { value in
              var new = value.load()
              tell(&new.costs)
              value.store(new)
            }
          }
        }
      }
    ) { server in
      try await server.load(["/group", "/calls/3"], requests: 20)
      #expect(try server.route("GET /group").costs.calls == ["process": 1000])
      #expect(try server.route("GET /calls/{count}").costs.calls == ["process": 30])
    }
  }

  @Test func aRequestHasTheTraceOfItsField() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    let seen = Mutex<RequestValue?>(nil)
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        router.get("trace") { _, _ in
          let value = tasks.program { $0.load() }
          seen.withLock { $0 = value }
          return "done"
        }
      }
    ) { server in
      let id = "4bf92f3577b34da6a3ce929d0e0e4736"
      _ = try await server.get("/trace", ["traceparent": "00-\(id)-00f067aa0ba902b7-01"])
      let value = try #require(seen.withLock { $0 })
      #expect(value.traceIDHigh == 0x4bf9_2f35_77b3_4da6)
      #expect(value.traceIDLow == 0xa3ce_929d_0e0e_4736)
      try await wait("the request is finished") { server.finished.all.count == 1 }
      #expect(server.finished.all.first?.traceID == id)
      #expect(server.finished.all.first?.id == value.id)
      let zero = String(repeating: "0", count: 32)
      for field in [
        "00-0-0-0", "00-\(id)", "ff-\(id)-00f067aa0ba902b7-01", "x", "00-\(id)-00f067aa0ba902b7",
        "000-\(id)-00f067aa0ba902b7-01", "00-\(id)0-00f067aa0ba902b7-01",
        "00-+\(id.dropFirst())-00f067aa0ba902b7-01", "00-\(zero)-00f067aa0ba902b7-01",
      ] {
        _ = try await server.get("/trace", ["traceparent": field])
        #expect(seen.withLock { $0?.traceIDLow } == 0, "\(field)")
      }
      try await wait("the requests are finished") { server.finished.all.count == 10 }
      #expect(server.finished.all.dropFirst().allSatisfy { $0.traceID == nil })
      for id in ["\(zero.dropLast())1", "1\(zero.dropLast())"] {
        server.finished.removeAll()
        _ = try await server.get("/trace", ["traceparent": "00-\(id)-00f067aa0ba902b7-01"])
        try await wait("the request is finished") { server.finished.all.count == 1 }
        #expect(server.finished.all.first?.traceID == id)
      }
    }
  }

  @Test func servesThePageAndTheFigures() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage)) { server in
      _ = try await server.get("/plain")
      _ = try await server.get("/nowhere")
      try await wait("the requests are finished") { server.finished.all.count == 2 }
      let (status, page) = try await server.get("/costs")
      #expect(status == 200 && page.contains("<title>Request costs</title>"))
      let (_, json) = try await server.get("/costs.json")
      let report = try JSONDecoder().decode(CostsReport.self, from: Data(json.utf8))
      #expect(report.routes.map(\.route) == ["GET /plain", "GET NotFound"])
      #expect(report.routes.map(\.requests) == [1, 1])
      #expect(report.slowest.map(\.status).sorted() == [200, 404])
      #expect(try await server.get("/costs/metrics").0 == 404)
    }
  }

  @Test func theNumberOfCallsIsChecked() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage)) { server in
      for count in ["-5", "10001", "99999999999999999999", "some"] {
        let (status, _) = try await server.get("/calls/\(count)")
        #expect(status == 400, "\(count)")
      }
      for count in ["0", "10000"] {
        let (status, _) = try await server.get("/calls/\(count)")
        #expect(status == 200, "\(count)")
      }
    }
  }

  @Test func routesAreBounded() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      routes: { router in
        for number in 0..<300 { router.get("route\(number)") { _, _ in "done" } }
      }
    ) { server in
      try await server.load((0..<300).map { "/route\($0)" }, requests: 300)
      let routes = server.costs.report().routes
      #expect(routes.count == 257)
      #expect(routes.first { $0.route == "(other routes)" }?.requests == 44)
    }
  }

  /// A process that may use the same pins can write any numbers.
  @Test func anyNumbersAreServed() async {
    await #expect(processExitsWith: .success) {
      let tasks = try FakeSwiftTasks<RequestValue>()
      try await TestServer.run(
        .fake(tasks.storage),
        routes: { router in
          router.get("huge/:amount") { _, context in
            let amount = try context.parameters.require("amount", as: UInt64.self)
            tasks.program { value in
              var new = value.load()
              new.costs.userTime = amount
              new.costs.kernelTime = amount
              new.costs.blockedTime = InlineArray(repeating: amount)
              new.costs.calls = InlineArray(repeating: amount)
              new.costs.callTime = InlineArray(repeating: amount)
              new.costs.tcpSent = amount
              value.store(new)
            }
            return "done"
          }
        }
      ) { server in
        for (number, amount) in [1 << 63, UInt64.max, UInt64.max / 2, UInt64.max / 8].enumerated() {
          _ = try await server.get("/huge/\(amount)")
          try await wait("the request is finished") { server.finished.all.count == number + 1 }
          #expect(CostsTable(server.costs.report()).description.contains("/huge/{amount}"))
        }
        let (status, _) = try await server.get("/costs.json")
        #expect(status == 200)
      }
    }
  }

  @Test(.liveKernel)
  func countsWithoutWhatCannotBeAttached() async throws {
    let log = TestLog()
    let source = try await CostsSource.loading(without: ["on_sample", "on_page_fault"])
    try await TestServer.run(source, logger: log.logger) { server in
      try await server.load(["/burn"], requests: 20)
      let costs = try server.route("GET /burn").costs
      #expect(costs.pageFaults == 0 && costs.samples == 0)
      #expect(costs.userNanoseconds > 0)
      let missing = server.costs.report().missing
      #expect(missing.filter { $0.hasPrefix("page faults are not counted") }.count == 1)
      #expect(missing.filter { $0.hasPrefix("user time is not sampled") }.count == 1)
    }
    #expect(log.all.filter { $0.contains("page faults") }.count == 1)
    #expect(log.all.filter { $0.contains("not sampled") }.count == 1)
  }
}
