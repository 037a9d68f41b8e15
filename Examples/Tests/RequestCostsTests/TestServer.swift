// SPDX-License-Identifier: Apache-2.0
import Foundation
import FoundationNetworking
import Hummingbird
import HummingbirdCore
import Logging
import RequestCosts
import RequestCostsDemo
import ServiceLifecycle
import Synchronization
import SystemPackage
import Testing

extension Trait where Self == ConditionTrait {
  /// Skips the test if the kernel has no tracepoints of TCP bytes. Linux 6.3 and later have them,
  /// and so each kernel with user pages.
  static var tcpTracepoints: Self {
    .enabled(if: countsTCP || isRequired("userpage"), "the tracepoint sock_send_length is missing")
  }
}

private let countsTCP =
  (try? Data(contentsOf: URL(filePath: "/sys/kernel/btf/vmlinux")))?
  .range(of: Data("btf_trace_sock_send_length".utf8)) != nil

/// Whether this is the virtual machine of `kernel/run`, where processors are slow.
let isEmulated = ProcessInfo.processInfo.environment["MMAPSTORAGE_EMULATED"] != nil

/// A server in this process, on any free port.
struct TestServer: Sendable {
  let costs: RequestCosts
  let port: Int
  let finished: Finished

  /// Each request that ended.
  final class Finished: Sendable {
    private let requests = Mutex<[CostsReport.Request]>([])

    func append(_ request: CostsReport.Request) { requests.withLock { $0.append(request) } }
    func removeAll() { requests.withLock { $0.removeAll() } }
    var all: [CostsReport.Request] { requests.withLock { $0 } }

    /// The requests of a route.
    func of(_ route: String) -> [CostsReport.Request] { all.filter { $0.route == route } }
  }

  /// Serves while `body` runs, and ends gracefully. `before` adds middleware before that of the
  /// costs. `countsEventLoops` is false for tests that compare only with the work of their routes.
  static func run(
    _ source: CostsSource?,
    pinnedIn directory: FilePath? = nil,
    countsEventLoops: Bool = true,
    channel: HTTP1Channel.Configuration = .init(),
    logger: Logger = Logger(label: "test", factory: { _ in SwiftLogNoOpLogHandler() }),
    before: (Router<BasicRequestContext>) -> Void = { _ in },
    routes: (Router<BasicRequestContext>) -> Void = { DemoServer.addRoutes(to: $0) },
    _ body: @escaping @Sendable (TestServer) async throws -> Void
  ) async throws {
    let finished = Finished()
    let costs =
      if let source {
        RequestCosts(source, logger: logger) { finished.append($0) }
      } else {
        await RequestCosts.start(logger: logger, pinnedIn: directory) { finished.append($0) }
      }
    let router = Router()
    before(router)
    router.add(middleware: RequestCostsMiddleware(costs))
    routes(router)
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
      router: router,
      server: countsEventLoops
        ? .http1(countedBy: costs, configuration: channel) : .http1(configuration: channel),
      configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { channel in
        port.yield(channel.localAddress?.port ?? 0)
        port.finish()
      },
      logger: logger
    )
    let group = ServiceGroup(
      services: [costs, application],
      gracefulShutdownSignals: [],
      logger: logger
    )
    try await withThrowingTaskGroup { tasks in
      tasks.addTask { try await group.run() }
      let port = try #require(await ports.first { _ in true })
      do {
        try await body(TestServer(costs: costs, port: port, finished: finished))
      } catch {
        await group.triggerGracefulShutdown()
        throw error
      }
      await group.triggerGracefulShutdown()
      try await tasks.waitForAll()
    }
  }

  /// Makes each thread of the server run the runtime's one-time operations, such as reading the
  /// thread's id, and resets the costs.
  func warmUp(_ paths: [String] = ["/plain"]) async throws {
    try await load(paths, requests: 320)
    finished.removeAll()
  }

  /// The steal time of all processors, in nanoseconds.
  static var stolenTime: UInt64 {
    let line = (try? String(contentsOfFile: "/proc/stat", encoding: .utf8))?.prefix { $0 != "\n" }
    let ticks = line?.split(separator: " ").dropFirst(8).first.flatMap { UInt64($0) } ?? 0
    return ticks * 1_000_000_000 / UInt64(sysconf(CInt(_SC_CLK_TCK)))
  }

  /// Sends requests from 16 connections; all of them succeed.
  func load(_ paths: [String], requests: Int) async throws {
    let before = finished.all.count
    let (succeeded, failed) = try await LoadGenerator(
      port: port,
      paths: paths,
      requests: requests,
      duration: .seconds(300)
    ).run()
    #expect(succeeded == requests && failed == 0)
    // The client receives the response shortly before the server has finished the request.
    try await wait("all requests are finished") {
      costs.report().running == 0 && finished.all.count >= before + requests
    }
  }

  /// A response.
  func get(_ path: String, _ fields: [String: String] = [:]) async throws -> (Int, String) {
    var request = URLRequest(url: try #require(URL(string: "http://127.0.0.1:\(port)\(path)")))
    for (name, value) in fields { request.setValue(value, forHTTPHeaderField: name) }
    let (body, response) = try await URLSession.shared.data(for: request)
    return ((response as? HTTPURLResponse)?.statusCode ?? 0, String(decoding: body, as: UTF8.self))
  }

  /// The sums of a route.
  func route(_ name: String) throws -> CostsReport.Route {
    try #require(costs.report().routes.first { $0.route == name })
  }
}

/// Waits for a condition that becomes true.
func wait(
  _ what: @autoclosure () throws -> String,
  _ condition: () async throws -> Bool
) async throws {
  let end = ContinuousClock.now.advanced(by: .seconds(120))
  while try await !condition() {
    guard ContinuousClock.now < end else {
      Issue.record("120 s later it is still not so that \(try what())")
      return
    }
    try await Task.sleep(for: .milliseconds(2))
  }
}
