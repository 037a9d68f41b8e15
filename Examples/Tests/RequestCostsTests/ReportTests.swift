// SPDX-License-Identifier: Apache-2.0
import Foundation
import FoundationNetworking
import HTTPTypes
import Hummingbird
import MmapStorageTesting
import NIOCore
import RequestCosts
import RequestCostsDemo
import Testing

/// The contents of reports and responses, in memory.
@Suite struct ReportTests {
  private struct SomeError: Error {}

  private static func addRoutes(_ router: Router<BasicRequestContext>) {
    router.get("status/:code") { _, context -> String in
      throw HTTPError(.init(code: try context.parameters.require("code", as: Int.self)))
    }
    router.get("error") { _, _ -> String in throw SomeError() }
    router.get("sleep/:milliseconds") { _, context in
      let time = try context.parameters.require("milliseconds", as: Int.self)
      try await Task.sleep(for: .milliseconds(time))
      return "slept"
    }
    router.post("costs") { _, _ in "posted" }
    DemoServer.addRoutes(to: router)
  }

  @Test(arguments: [true, false])
  func failures(countsEventLoops: Bool) async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      countsEventLoops: countsEventLoops,
      routes: Self.addRoutes
    ) { server in
      for code in [404, 499, 500, 503] {
        #expect(try await server.get("/status/\(code)").0 == code)
      }
      #expect(try await server.get("/error").0 == 500)
      try await wait("the requests are finished") { server.finished.all.count == 5 }
      #expect(Set(server.finished.of("GET /status/{code}").map(\.status)) == [404, 499, 500, 503])
      #expect(server.finished.of("GET /error").map(\.status) == [500])
      let routes = server.costs.report().routes
      #expect(routes.map(\.route) == ["GET /error", "GET /status/{code}"])
      #expect(routes.map(\.failures) == [1, 2] && routes.map(\.requests) == [1, 4])
    }
  }

  @Test func theSlowestAndTheirDurations() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage), routes: Self.addRoutes) { server in
      let times = [0, 30, 0, 20, 10, 1, 2, 3, 4, 5].map { "/sleep/\($0)" }
      try await server.load(times + ["/plain"], requests: 55)
      // A request that is not among them.
      try await server.load(["/plain"], requests: 1)
      let all = server.finished.all.map(\.nanoseconds).sorted(by: >)
      let report = server.costs.report()
      #expect(report.slowest.map(\.nanoseconds) == Array(all.prefix(20)))
      let sleeping = server.finished.of("GET /sleep/{milliseconds}").map(\.nanoseconds).sorted()
      let route = try server.route("GET /sleep/{milliseconds}")
      // With two digits.
      func isNear(_ time: UInt64, _ exact: ArraySlice<UInt64>) -> Bool {
        exact.contains { abs(Double(time) / Double($0) - 1) < 0.02 }
      }
      #expect(isNear(route.p50Nanoseconds, sleeping[24...25]))
      #expect(isNear(route.p99Nanoseconds, sleeping[48...49]))
      #expect(report.routes.map(\.route) == ["GET /plain", "GET /sleep/{milliseconds}"])
    }
  }

  @Test func namesPathsAndSeconds() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    let began = ContinuousClock.now
    try await TestServer.run(.fake(tasks.storage), logger: TestLog().logger) { server in
      _ = try await server.get("/plain")
      _ = try await server.get("/" + String(repeating: "x", count: 300))
      try await wait("the requests are finished") { server.finished.all.count == 2 }
      #expect(server.finished.all.map(\.path.count).sorted() == [6, 256])
      #expect(Set(server.finished.all.map(\.name)).subtracting([""]).count == 2)
      let first = (ContinuousClock.now, server.costs.report().seconds, ContinuousClock.now)
      _ = try await server.get("/plain")
      let second = (ContinuousClock.now, server.costs.report().seconds, ContinuousClock.now)
      let between = second.1 - first.1
      #expect(between >= (second.0 - first.2) / .seconds(1) && first.1 > 0)
      #expect(between <= (second.2 - first.0) / .seconds(1))
      #expect(second.1 <= (second.2 - began) / .seconds(1))
    }
  }

  /// A page with figures of a server must not be cached or load other resources.
  @Test(arguments: [true, false])
  func fieldsOfResponses(countsEventLoops: Bool) async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      countsEventLoops: countsEventLoops,
      routes: Self.addRoutes
    ) { server in
      for (method, path, expected) in [
        (
          "GET", "/costs",
          [
            "Content-Type": "text/html; charset=utf-8", "Cache-Control": "no-store",
            "Content-Security-Policy": "default-src 'none'",
          ]
        ),
        ("GET", "/costs.json", ["Content-Type": "application/json", "Cache-Control": "no-store"]),
        ("POST", "/costs", ["Content-Length": "6"]), ("GET", "/plain", ["Content-Length": "6"]),
      ] {
        var request = URLRequest(
          url: try #require(URL(string: "http://127.0.0.1:\(server.port)\(path)"))
        )
        request.httpMethod = method
        let (body, response) = try await URLSession.shared.data(for: request)
        let fields = try #require(response as? HTTPURLResponse)
        #expect(fields.statusCode == 200)
        for (name, value) in expected {
          let found = fields.value(forHTTPHeaderField: name)
          #expect(found?.hasPrefix(value) == true, "\(method) \(path): \(name): \(found ?? "-")")
        }
        if method == "POST" { #expect(String(decoding: body, as: UTF8.self) == "posted") }
      }
    }
  }

  @Test func sumsAndDifferencesOfCosts() {
    /// All fields, in order.
    func words(_ costs: KernelCosts) -> [UInt64] {
      withUnsafeBytes(of: costs) { [UInt64]($0.bindMemory(to: UInt64.self)) }
    }
    func costs(_ word: (UInt64) -> UInt64) -> KernelCosts {
      var costs = KernelCosts()
      withUnsafeMutableBytes(of: &costs) { bytes in
        let words = bytes.bindMemory(to: UInt64.self)
        for index in words.indices { words[index] = word(UInt64(index)) }
      }
      return costs
    }
    let (small, large) = (costs { $0 + 1 }, costs { 1000 * ($0 + 1) })
    var sum = small
    sum += large
    #expect(words(sum) == words(costs { 1001 * ($0 + 1) }))
    #expect(words(sum.since(large)) == words(small))
    // Readings are not atomic, so a later one may be less.
    #expect(words(small.since(large)) == words(KernelCosts()))
  }

  /// As `failures`, including the parts of the request that event loops run.
  @Test func responsesOfErrorsAreTheirRequests() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(
      .fake(tasks.storage),
      channel: .init(additionalChannelHandlers: [Counter(tasks)]),
      routes: Self.addRoutes
    ) { server in
      for _ in 0..<20 { _ = try await server.get("/error") }
      try await wait("the requests are finished") { server.finished.all.count == 20 }
      for request in server.finished.all {
        #expect(request.costs.calls == ["file": 1, "socket": 1])
      }
    }
  }
}
