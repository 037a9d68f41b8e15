// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Hummingbird
import Logging
import RequestCosts
import ServiceLifecycle

/// The modes run in turns in one server, so that other load of the machine affects all equally.
struct Measure: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measures what counting costs a server: attached, detached, without the middleware."
  )

  @Option(help: "How often each mode has its turn, at most 100.")
  var rounds = 5

  @Option(help: "For how many seconds a turn sends requests, at most 60.")
  var seconds = 2

  func validate() throws {
    guard (1...100).contains(rounds), (1...60).contains(seconds) else {
      throw ValidationError("--rounds takes 1 to 100, --seconds 1 to 60")
    }
  }

  private enum Mode: String, CaseIterable {
    case without = "without RequestCosts"
    case detached = "with it, programs detached"
    case attached = "with it, programs attached"
  }

  func run() async throws {
    let logger = Logger(label: "request-costs") { StreamLogHandler.standardError(label: $0) }
    let source = try await CostsSource.loading()
    let costs = RequestCosts(source, logger: logger)
    let servers = [
      try await Server(nil, logger: logger), try await Server(costs, logger: logger),
    ]
    defer { for server in servers { server.task.cancel() } }

    for path in ["plain", "database"] {
      var turns: [Mode: [(rate: Double, time: Double)]] = [:]
      for _ in 0..<rounds {
        for mode in Mode.allCases {
          source.program?.detach()
          if mode == .attached { try source.program?.attach() }
          let server = servers[mode == .without ? 0 : 1]
          turns[mode, default: []].append(try await turn(server.port, "/\(path)"))
        }
      }
      print("\n/\(path): median of \(rounds) turns")
      for mode in Mode.allCases {
        let rate = median(turns[mode, default: []].map(\.rate))
        let time = median(turns[mode, default: []].map(\.time))
        print(
          "  \(mode.rawValue.padding(toLength: 32, withPad: " ", startingAt: 0))"
            + String(format: "%8.0f requests/s  %7.1f µs CPU of the server a request", rate, time)
        )
      }
    }
    costs.stop()
  }

  /// Requests per second, and the server's processor time for each in microseconds.
  private func turn(_ port: Int, _ path: String) async throws -> (rate: Double, time: Double) {
    let process = Process()
    let output = Pipe()
    process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = ["load", "--port", "\(port)", "--seconds", "\(seconds)", path]
    process.standardOutput = output
    let before = processorTime()
    let began = ContinuousClock.now
    try process.run()
    while process.isRunning { try await Task.sleep(for: .milliseconds(50)) }
    let duration = (ContinuousClock.now - began) / .seconds(1)
    let time = processorTime() - before
    let text = String(decoding: output.fileHandleForReading.availableData, as: UTF8.self)
    guard let count = text.split(separator: " ").first.flatMap({ Double($0) }), count > 0 else {
      throw ValidationError("the load sent no requests: \(text)")
    }
    return (count / duration, time / count / 1000)
  }

  private func processorTime() -> Double {
    var time = timespec()
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time)
    return Double(time.tv_sec) * 1e9 + Double(time.tv_nsec)
  }

  private func median(_ values: [Double]) -> Double {
    values.isEmpty ? 0 : values.sorted()[values.count / 2]
  }
}

/// A server on any free port.
private struct Server {
  let port: Int
  let task: Task<Void, any Error>

  init(_ costs: RequestCosts?, logger: Logger) async throws {
    let router = Router()
    if let costs { router.add(middleware: RequestCostsMiddleware(costs, servedAt: nil)) }
    router.get("plain") { _, _ in "Hello\n" }
    router.get("database") { _, _ in
      try await Task.sleep(for: .milliseconds(1))
      return "A row\n"
    }
    let (ports, port) = AsyncStream.makeStream(of: Int.self)
    var quiet = logger
    quiet.logLevel = .error
    let application = Application(
      router: router,
      server: costs.map { .http1(countedBy: $0) } ?? .http1(),
      configuration: ApplicationConfiguration(address: .hostname("127.0.0.1", port: 0)),
      onServerRunning: { channel in
        port.yield(channel.localAddress?.port ?? 0)
        port.finish()
      },
      logger: quiet
    )
    task = Task { try await application.run() }
    self.port = await ports.first { _ in true } ?? 0
  }
}
