// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorageTesting
import RequestCosts
import Testing

/// `request-costs load`, and the errors of `serve`
@Suite struct LoadTests {
  private func run(
    _ arguments: [String],
    of command: String = "load"
  ) async throws -> (status: Int32, output: String) {
    let products = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    return try await onThread {
      let process = Process()
      let output = Pipe()
      process.executableURL = products.appending(path: "request-costs")
      process.arguments = [command] + arguments
      process.standardOutput = output
      process.standardError = output
      try process.run()
      let text = output.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      return (process.terminationStatus, String(decoding: text, as: UTF8.self))
    }
  }

  @Test func countsSuccessesAndFailures() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage)) { server in
      for (path, status, text) in [
        ("/plain", 0, "5 succeeded, 0 failed\n"), ("/nowhere", 1, "0 succeeded, 5 failed\n"),
      ] as [(String, Int32, String)] {
        let run = try await run(["--port", "\(server.port)", "--requests", "5", path])
        #expect(run.status == status && run.output.hasPrefix(text), "\(run)")
      }
    }
  }

  @Test(arguments: [
    ["--port", "0"], ["--port", "65536"], ["--port", "80", "--seconds", "601"],
    ["--port", "80", "--connections", "257"], ["--port", "80", "--connections", "0"],
    ["--port", "80", "plain"], ["--port", "80", "/a b"],
  ])
  func wrongOptions(arguments: [String]) async throws {
    let run = try await run(arguments)
    #expect(run.status == 64, "\(run)")
  }

  @Test func aPortThatAnotherServerUses() async throws {
    let tasks = try FakeSwiftTasks<RequestValue>()
    try await TestServer.run(.fake(tasks.storage)) { server in
      let run = try await run(
        ["--port", "\(server.port)", "--seconds", "0", "--fake"],
        of: "serve"
      )
      #expect(run.status == 64)
      #expect(run.output.contains("cannot listen at port \(server.port) of 127.0.0.1"), "\(run)")
    }
  }
}
