// SPDX-License-Identifier: Apache-2.0
import Glibc
import Hummingbird
import Logging
import MmapStorage

/// `struct request` of served.bpf.c.
typealias Costs = Served.Request

/// Runs each request in a scope.
struct Scope<Context: RequestContext>: RouterMiddleware {
  let requests: SwiftTaskStorage<Costs>

  func handle(
    _ input: Request,
    context: Context,
    next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    try await requests.withValue({ $0.calls = 0 }) { try await next(input, context) }.result
  }
}

/// A route of Hummingbird with a scope for each request, against the same route without one, in
/// turns, in processor time of the server. Prints samples for Benchmarks/report.
@main struct ServerCosts {
  static func main() async throws {
    var opened = try Served.open()
    opened.globals.expectedTGID = UInt64(getpid())
    let program = try opened.load(attaching: false)
    let requests = try await program.maps.requests.open()

    let router = Router()
    router.get("plain") { _, _ in "Hello\n" }
    router.group("scope").add(middleware: Scope<BasicRequestContext>(requests: requests))
      .get("plain") { _, _ in "Hello\n" }
    let (ports, running) = AsyncStream.makeStream(of: Int.self)
    var logger = Logger(label: "server")
    logger.logLevel = .error
    let application = Application(
      router: router,
      configuration: .init(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { running.yield($0.localAddress?.port ?? 0) },
      logger: logger
    )
    let server = Task { try await application.run() }
    for await port in ports {
      try await Task.detached { try measure(port, program.object) }.value
      break
    }
    server.cancel()
    // Not waited for, because the connections are still open.
    exit(0)
  }

  static func measure(_ port: Int, _ object: BPFObject) throws {
    let client = try Client(port: port, connections: 16)
    _ = try client.run("/plain", 2_000)
    _ = try client.run("/scope/plain", 2_000)
    for attached in [false, true] {
      let programs = attached ? "attached" : "detached"
      let name = "swift tasks: /plain of Hummingbird, programs \(programs) (in a scope | without)"
      for _ in 0..<21 {
        // Drift affects both sides.
        let first = try client.run("/plain", 1_000)
        if attached { try object.attach() }
        let second = try client.run("/scope/plain", 2_000)
        if attached { object.detach() }
        let third = try client.run("/plain", 1_000)
        print(name, "ns", second, (first + third) / 2, separator: "\t")
      }
    }
  }
}
