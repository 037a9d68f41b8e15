// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import Testing

/// `mmapstorage watch`
@Suite(.liveKernel, .serialized) struct WatchTests {
  @Test(arguments: [
    ["--interval", "0.009"], ["--interval", "86401"], ["--interval", "nan"], ["--count", "0"],
  ])
  func wrongOptions(options: [String]) throws {
    #expect(try ToolRun(["watch", "1"] + options).status == 64)
  }

  @Test func changesAsJSON() throws {
    let requests = try RequestsProgram()
    try requests.storage.withCurrent { $0.id = 1 }
    let process = Process()
    let pipe = Pipe()
    let arguments = ["watch", "\(requests.id)", "--json", "--interval", "0.02"]
    try process.set("mmapstorage", arguments, as: nil)
    process.standardOutput = pipe
    let began = Date().timeIntervalSince1970
    try process.run()
    defer {
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    var lines = LineReader(pipe.fileHandleForReading)
    func next() throws -> (changed: [String]?, time: Double?) {
      let line = Data(try lines.next().utf8)
      let object = try JSONSerialization.jsonObject(with: line) as? [String: Any]
      return (object?["changed"] as? [String], object?["time"] as? Double)
    }
    let first = try next()
    #expect(first.changed == [])
    let changed = ToolRequest(id: 2, calls: 0, priority: 3, route: .init(repeating: 0))
    try requests.storage.withCurrent { $0.store(changed) }
    let second = try next()
    #expect(second.changed == ["id", "priority"])
    let times = [began, first.time ?? 0, second.time ?? 0, Date().timeIntervalSince1970]
    #expect(times == times.sorted())
  }
}
