// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import RequestCostsDemo

struct Load: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Sends requests to the demonstration's server on 127.0.0.1."
  )

  @Option(help: "The server's port.")
  var port: Int

  @Option(help: "For how many seconds, at most 600.")
  var seconds = 10

  @Option(help: "How many connections, at most 256.")
  var connections = 16

  @Option(help: "How many requests at most.")
  var requests = 1_000_000

  @Argument(help: "Paths, in turn. (default: all routes of the demonstration)")
  var paths: [String] = []

  func validate() throws {
    guard (0...600).contains(seconds) else { throw ValidationError("--seconds takes 0 to 600") }
    guard (1...256).contains(connections) else {
      throw ValidationError("--connections takes 1 to 256")
    }
    guard (1...65535).contains(port) else { throw ValidationError("--port takes 1 to 65535") }
    guard paths.allSatisfy({ $0.hasPrefix("/") && !$0.contains(where: \.isWhitespace) }) else {
      throw ValidationError("paths begin with / and have no spaces")
    }
  }

  func run() async throws {
    let (succeeded, failed) = try await LoadGenerator(
      port: port,
      paths: paths.isEmpty ? DemoServer.paths : paths,
      connections: connections,
      requests: requests,
      duration: .seconds(seconds)
    ).run()
    print("\(succeeded) succeeded, \(failed) failed")
    if failed > 0 { throw ExitCode.failure }
  }
}
