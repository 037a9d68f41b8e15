// SPDX-License-Identifier: Apache-2.0
import Foundation
import RequestCosts
import RequestCostsDemo
import ServiceLifecycle
import Synchronization

/// Sends requests to the server from another process, and prints the table meanwhile.
struct Driver: Service {
  var costs: RequestCosts
  var ports: AsyncStream<Int>
  var seconds: Int
  var connections: Int
  var keepsServing: Bool

  func run() async throws {
    guard let port = await ports.first(where: { _ in true }) else { return }
    print("Serving http://127.0.0.1:\(port)/costs\n")
    let screen = Screen()
    if seconds > 0 {
      let load = try LoadProcess(port: port, seconds: seconds, connections: connections)
      await cancelWhenGracefulShutdown {
        var previous = costs.report()
        while load.isRunning, !Task.isCancelled {
          try? await Task.sleep(for: .seconds(1))
          let report = costs.report()
          screen.show(report, since: previous)
          previous = report
        }
      }
      load.stop()
    }
    screen.showLast(costs.report())
    guard keepsServing else { return }
    print("\nServing http://127.0.0.1:\(port)/costs until Ctrl-C")
    await cancelWhenGracefulShutdown {
      while !Task.isCancelled { try? await Task.sleep(for: .seconds(3600)) }
    }
  }
}

/// This program with the subcommand `load`, so that its costs do not count for the server.
private final class LoadProcess: Sendable {
  private let process: Mutex<Process>

  init(port: Int, seconds: Int, connections: Int) throws {
    let process = Process()
    process.executableURL = URL(filePath: "/proc/self/exe").resolvingSymlinksInPath()
    process.arguments = [
      "load", "--port", "\(port)", "--seconds", "\(seconds)", "--connections", "\(connections)",
    ]
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    self.process = Mutex(process)
  }

  var isRunning: Bool { process.withLock { $0.isRunning } }

  func stop() {
    process.withLock { if $0.isRunning { $0.terminate() } }
  }

  deinit { stop() }
}

/// The output: on a terminal, a table that is redrawn in place; else a line each second.
private final class Screen: Sendable {
  private let drawnLines = Mutex(0)
  private let isTerminal = isatty(STDOUT_FILENO) == 1

  func show(_ report: CostsReport, since previous: CostsReport) {
    guard isTerminal else {
      let requests = report.routes.reduce(0) { $0 + $1.requests }
      let earlier = previous.routes.reduce(0) { $0 + $1.requests }
      print("\(Int(report.seconds.rounded())) s: \(requests - earlier) requests in the last second")
      fflush(nil)
      return
    }
    draw(CostsTable(report, since: previous).description)
  }

  func showLast(_ report: CostsReport) {
    let table = CostsTable(report).description
    if isTerminal { draw(table) } else { print("\n" + table) }
    fflush(nil)
  }

  private func draw(_ text: String) {
    var size = winsize()
    let width = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 ? Int(size.ws_col) : 0
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
      .map { width > 0 ? $0.prefix(width) : $0 }
    drawnLines.withLock { drawn in
      let back = drawn > 0 ? "\u{1b}[\(drawn)A\u{1b}[J" : ""
      print(back + lines.joined(separator: "\n"))
      drawn = lines.count
    }
    fflush(nil)
  }
}
