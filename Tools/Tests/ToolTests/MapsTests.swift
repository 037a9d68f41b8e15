// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import Testing

/// `mmapstorage maps`: the listed maps, and their columns.
@Suite(.liveKernel, .serialized) struct MapsTests {
  @Test func columnsAndPins() throws {
    try withBPFFileSystem { directory in
      let requests = try RequestsProgram()
      let map = try requests.object.map("tool_requests")
      try #require(mkdir(directory.appending("a").string, 0o755) == 0)
      let pins = ["a/second", "first", "fourth", "third"].map { directory.appending($0) }
      for pin in pins.reversed() { try map.pin(at: pin) }
      // Two descriptors of one process, and a link to a pin.
      let other = try BPFMap(pinnedAt: pins[0])
      try #require(symlink(pins[0].string, directory.appending("link").string) == 0)

      let run = try ToolRun(["maps", "--json"])
      let maps = try #require(try run.json() as? [[String: Any]], "\(run)")
      let entry = try #require(maps.first { $0["id"] as? UInt32 == requests.id })
      let listed = try #require(entry["pins"] as? [[String: Any]])
      #expect(listed.map { $0["path"] as? String } == pins.map(\.string))
      #expect(listed.allSatisfy { $0["owner"] as? Int == 0 && $0["group"] as? Int == 0 })
      let processes = try #require(entry["processes"] as? [[String: Any]])
      #expect(processes.map { $0["id"] as? Int32 } == [getpid()])
      let name = try String(contentsOfFile: "/proc/self/comm", encoding: .utf8).dropLast()
      #expect(processes.map { $0["name"] as? String } == [String(name)])
      let info = try requests.object.program("count").loaded().info
      let programs = try #require(entry["programs"] as? [[String: Any]])
      #expect(programs.map { $0["id"] as? UInt32 } == [info.id])
      #expect(programs.map { $0["tag"] as? String } == [info.tag])
      // Not the maps of global variables.
      let globals = Set(info.mapIDs).subtracting([requests.id])
      #expect(!globals.isEmpty && maps.allSatisfy { !globals.contains($0["id"] as? UInt32 ?? 0) })

      let table = try ToolRun(["maps"])
      let line = try #require(
        table.output.split(separator: "\n").first { $0.contains(pins[0].string) },
        "\(table)"
      )
      let cells = line.replacing(/\ {2,}/, with: "|").split(separator: "|").map {
        $0.trimmingCharacters(in: .whitespaces)
      }
      #expect(Array(cells.prefix(4)) == ["\(requests.id)", "tool_requests", "tool_request", "32"])
      #expect(
        Array(cells.dropFirst(6)) == [
          "count (\(info.id))", "\(name) (\(getpid()))",
          pins.map { "\($0) (0600 0:0)" }.joined(separator: ", "),
        ],
        "\(table)"
      )
      // Numbers are right-aligned.
      let header = table.output.prefix { $0 != "\n" }
      let end = try #require(header.firstRange(of: "BYTES")).upperBound
      let width = header.distance(from: header.startIndex, to: end)
      #expect(line.prefix(width).hasSuffix("  32"), "\(table)")
      withExtendedLifetime(other) {}
    }
  }
}
