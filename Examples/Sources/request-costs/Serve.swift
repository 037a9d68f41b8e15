// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Hummingbird
import Logging
import MmapStorage
import MmapStorageTesting
import RequestCosts
import RequestCostsDemo
import ServiceLifecycle
import Synchronization
import SystemPackage

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Starts a server, drives it with load, and prints the costs of each route."
  )

  @Option(help: "The port on 127.0.0.1. (default: 8080, or any other if that is in use)")
  var port: Int?

  @Option(help: "For how many seconds to send requests, at most 600; 0 sends none.")
  var seconds = 10

  @Option(help: "How many connections send requests, at most 256.")
  var connections = 16

  @Option(help: "Where request-costs-loader pinned its programs.")
  var pinned: String?

  @Flag(help: "Count in memory of the process instead of in the kernel.")
  var fake = false

  @Flag(
    inversion: .prefixedNo,
    help: "Serve until Ctrl-C after the load. (default: if the output is a terminal)"
  )
  var keepServing: Bool?

  func validate() throws {
    guard (0...600).contains(seconds) else { throw ValidationError("--seconds takes 0 to 600") }
    guard (1...256).contains(connections) else {
      throw ValidationError("--connections takes 1 to 256")
    }
    guard (0...65535).contains(port ?? 0) else { throw ValidationError("--port takes 0 to 65535") }
  }

  func run() async throws {
    if let port, !isFree(UInt16(port)) {
      let reason = Errno(rawValue: errno)
      throw ValidationError(
        "cannot listen at port \(port) of 127.0.0.1: \(reason); name another port with --port"
      )
    }
    var logger = Logger(label: "request-costs") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = .warning
    let router = Router()
    let costs = try await makeCosts(router, logger)
    let report = costs.report()
    print("Costs from: \(report.source)")
    if let obstacle = report.obstacle {
      print("No kernel costs: \(obstacle)\nTry --fake to see the table without privileges.")
    }

    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    let application = Application(
      router: router,
      server: .http1(countedBy: costs),
      configuration: ApplicationConfiguration(
        address: .hostname("127.0.0.1", port: self.port ?? (isFree(8080) ? 8080 : 0)),
        serverName: "request-costs"
      ),
      onServerRunning: { channel in
        port.yield(channel.localAddress?.port ?? 0)
        port.finish()
      },
      logger: logger
    )
    let driver = Driver(
      costs: costs,
      ports: ports,
      seconds: seconds,
      connections: connections,
      keepsServing: keepServing ?? (isatty(STDOUT_FILENO) == 1)
    )
    var configuration = ServiceGroupConfiguration(
      services: [
        .init(service: costs), .init(service: application),
        .init(
          service: driver,
          successTerminationBehavior: .gracefullyShutdownGroup,
          failureTerminationBehavior: .cancelGroup
        ),
      ],
      gracefulShutdownSignals: [.sigterm, .sigint],
      logger: logger
    )
    // Otherwise connections of browsers stay open.
    configuration.maximumGracefulShutdownDuration = .seconds(2)
    try await ServiceGroup(configuration: configuration).run()
    if !fake, report.obstacle == nil { print("Detached.") }
  }

  private func makeCosts(
    _ router: Router<BasicRequestContext>,
    _ logger: Logger
  ) async throws -> RequestCosts {
    guard fake else {
      let costs = await RequestCosts.start(
        logger: logger,
        pinnedIn: pinned.map { FilePath($0) }
      )
      router.add(middleware: RequestCostsMiddleware(costs))
      DemoServer.addRoutes(to: router)
      return costs
    }
    let tasks = try FakeSwiftTasks<RequestValue>(slots: 4096)
    let costs = RequestCosts(.fake(tasks.storage), logger: logger)
    let order = Mutex(())
    router.add(middleware: RequestCostsMiddleware(costs))
    DemoServer.addRoutes(to: router) { tell in
      order.withLock { _ in
        tasks.program { value in
          var new = value.load()
          tell(&new.costs)
          value.store(new)
        }
      }
    }
    return costs
  }

  /// Whether a server can listen at the port of 127.0.0.1 now.
  private func isFree(_ port: UInt16) -> Bool {
    let descriptor = socket(AF_INET, CInt(SOCK_STREAM.rawValue), 0)
    guard descriptor >= 0 else { return false }
    defer { close(descriptor) }
    var reuse: CInt = 1
    setsockopt(descriptor, SOL_SOCKET, SO_REUSEADDR, &reuse, socklen_t(MemoryLayout<CInt>.size))
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
    return withUnsafePointer(to: address) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_in>.size)) == 0
      }
    }
  }
}
