// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import Synchronization
import SystemPackage
import Testing

private typealias Kinds = AllKinds.Kinds

/// Values with fields of all kinds.
@Suite(.liveKernel, .serialized) struct KindsTests {
  private let storage: TaskLocalStorage<Kinds>
  private let id: String
  private let direct: BPFMap

  init() throws {
    let kinds = try AllKinds.load()
    storage = try kinds.maps.toolKinds
    id = try "\(kinds.object.map("tool_kinds").info.id)"
    direct = try kinds.object.map("tool_kinds_of_direct_storage")
  }

  /// Runs the body while each of three threads has a value.
  private func withThreads(_ body: () throws -> Void) throws {
    let values = [
      ("one", Kinds(id: 1, balance: -5, level: .low, ratio: 10.5)),
      ("two", Kinds(id: 20, balance: 3, level: .high, ratio: .infinity, on: true)),
      // A control character and one that reverses text must not reach the terminal.
      ("th\u{7}\u{202E}", Kinds(id: 3, balance: -7, level: .init(rawValue: 5), ratio: 9.25)),
    ]
    let isReady = DispatchSemaphore(value: 0), mayEnd = DispatchSemaphore(value: 0)
    for (name, value) in values {
      Thread.detachNewThread { [storage] in
        do {
          try Data("kinds \(name)".utf8).write(to: URL(filePath: "/proc/thread-self/comm"))
          try storage.withCurrent { view in
            view.store(value)
            _ = view.name.replaceString(with: name)
            for index in 0..<8 { view.eight[index] = UInt32(index) }
            for index in 0..<9 { view.nine[index] = UInt32(index * 10) }
            view[\.whole] = 0x1_0000_0002
            view.pointer = 0x10
          }
        } catch {
          Issue.record(error)
        }
        isReady.signal()
        mayEnd.wait()
      }
    }
    for _ in values { isReady.wait() }
    defer { for _ in values { mayEnd.signal() } }
    try body()
  }

  private func dump(_ options: [String]) throws -> [[String: Any]] {
    let run = try ToolRun(["dump", id, "--json"] + options)
    return try #require(try run.json() as? [[String: Any]], "\(run)")
  }

  /// The values' field `id`, in their order.
  private func ids(_ options: String...) throws -> [Int] { try ids(options) }

  private func ids(_ options: [String]) throws -> [Int] {
    try dump(options).map {
      try #require(($0["value"] as? [String: Any])?["id"] as? Int)
    }
  }

  @Test func valuesAsJSON() throws {
    try withThreads { () throws in
      let found = try storage.values()
      let name = try String(contentsOfFile: "/proc/self/comm", encoding: .utf8)
      for (number, level, ratio) in [(1, "LOW", 10.5), (20, "HIGH", .infinity), (3, nil, 9.25)]
        as [(UInt64, String?, Double)]
      {
        let task = try #require(found.first { $0.value.id == number }?.task)
        let values = try dump(["--thread", "\(task.thread)"])
        let document = try #require(values.first)
        #expect(values.count == 1)
        #expect(document["thread"] as? Int32 == task.thread.rawValue)
        #expect(document["process"] as? Int32 == getpid())
        let word = [1: "one", 20: "two"][number] ?? "th\u{7}\u{202E}"
        #expect(document["threadName"] as? String == "kinds \(word)")
        #expect(document["processName"] as? String == String(name.dropLast()))
        #expect(document["user"] as? UInt32 == getuid())
        #expect(document["startTime"] as? UInt64 == task.startTime && task.startTime > 0)
        let value = try #require(document["value"] as? [String: Any])
        let shown = try #require(value["level"] as? [String: Any])
        #expect(shown["name"] as? String == level)
        #expect(shown["number"] as? Int == [1: -1, 20: 1, 3: 5][number])
        #expect(
          ratio.isFinite ? value["ratio"] as? Double == ratio : value["ratio"] as? String == "inf"
        )
        #expect(value["on"] as? Bool == (number == 20))
        #expect(value["nine"] as? [Int] == (0..<9).map { $0 * 10 })
        #expect(value["half"] as? Int == 2 && value["whole"] as? Int == 0x1_0000_0002)
        #expect(value["pointer"] as? String == "10 00 00 00 00 00 00 00")
      }
    }
  }

  @Test func theOrderOfEachKind() throws {
    try withThreads { () throws in
      for (field, order) in [
        ("id", [20, 3, 1]), ("balance", [20, 1, 3]), ("level", [3, 20, 1]), ("ratio", [20, 1, 3]),
        ("name", [20, 3, 1]),
      ] {
        #expect(try ids("--sort", field) == order, "\(field)")
      }
      #expect(try ids("--sort", "on").first == 20)
    }
  }

  @Test func processesAndThreadsByName() throws {
    try withThreads { () throws in
      let name = try String(contentsOfFile: "/proc/self/comm", encoding: .utf8).dropLast()
      #expect(try ids("--process", String(name)).count == 3)
      #expect(try ids("--process", "\(getpid())", "--process", "none").count == 3)
      #expect(try ids("--process", "none").isEmpty)
      #expect(try ids("--thread", "kinds two") == [20])
      let threads = ["--thread", "kinds two", "--thread", "kinds th\u{7}\u{202E}"]
      #expect(try ids(threads + ["--sort", "id"]) == [20, 3])
    }
  }

  @Test func fieldsByName() throws {
    try withThreads { () throws in
      func fields(_ names: String...) throws -> Set<String> {
        let options = names.flatMap { ["--field", $0] }
        let run = try ToolRun(["dump", id, "--json", "--thread", "kinds one"] + options)
        let values = try run.json() as? [[String: Any]]
        return Set(try #require((values?.first?["value"] as? [String: Any])?.keys, "\(run)"))
      }
      #expect(try fields("level") == ["level"])
      #expect(try fields("levels", "id") == ["levels", "id"])
    }
  }

  @Test func theTable() throws {
    try withThreads { () throws in
      let fields = ["id", "level", "levels", "name", "eight", "nine"].flatMap { ["--field", $0] }
      let run = try ToolRun(["dump", id, "--sort", "balance"] + fields)
      let lines = run.output.split(separator: "\n")
      try #require(lines.count == 4, "\(run)")
      let space = String(repeating: " ", count: max(0, "\(getpid())".count - 3))
      for (line, text) in [
        (0, "  \(space)PID  THREAD      "), (0, "  id  level     levels"),
        (3, "  \(getpid())  kinds th??  "), (1, "  20  HIGH (1)  [MIDDLE (0), MIDDLE (0)]  "),
        (2, "   1  LOW (-1)  ["), (2, "  \"one\"      "), (2, "  [0, 1, 2, 3, 4, 5, 6, 7]  "),
        (2, "  [0, 10, 20, 30, 40, 50, 60, 70, … 9 in all]"),
      ] {
        #expect(lines[line].contains(text), "\(text)\n\(run.output)")
      }
      let json = try ToolRun(["dump", id, "--json"]).output
      #expect(json.contains(#"kinds th\u0007\u202e""#) && !json.contains("\u{202E}"), "\(json)")
    }
  }

  @Test(.timeLimit(.minutes(1))) func theNameOfAMap() throws {
    // The kernel frees the maps of earlier tests after a grace period.
    while try ToolRun(["dump", "tool_kinds_of_d"]).errors.contains(" maps have the name") {}
    // The kernel keeps 15 bytes of the name.
    #expect(try ToolRun(["dump", "tool_kinds_of_direct_storage"]).status == 0)
    #expect(try ToolRun(["dump", "tool_kinds_of_d"]).status == 0)
    let other = try AllKinds.load()
    let run = try ToolRun(["dump", "tool_kinds"])
    #expect(run.status == 1 && run.errors.contains(" maps have the name 'tool_kinds'"), "\(run)")
    let ids = try #require(run.errors.components(separatedBy: "one of the ids ").last)
      .split(whereSeparator: { !$0.isNumber }).map(String.init)
    #expect(try ids.contains(id) && ids.contains("\(other.object.map("tool_kinds").info.id)"))
  }

  @Test func theLayout() throws {
    let file = "/tmp/kinds-\(UUID().uuidString).bpf.o"
    try Data(BPFObjectImage.allKinds.bytes).write(to: URL(filePath: file))
    defer { unlink(file) }
    let text = try ToolRun(["layout", file, "tool_kinds_of_direct_storage"])
    #expect(text.status == 0)
    #expect(
      text.output == """
        OFFSET  BYTES  TYPE                 FIELD
             0      8  u64                  id
             8      4  s32                  balance
            12      4  enum level (s32)     level
            16      8  enum level (s32)[2]  levels
            24      8  f64                  ratio
            32      1  bool                 on
            33      8  char[8]              name
            41      3                       (padding)
            44     32  u32[8]               eight
            76     36  u32[9]               nine
           112      8  u64                  whole
           112      4  u32                  half
           120      8  pointer              pointer
           128      1  char                 last
           129      7                       (padding)
           136                              end of kinds
        enum level: LOW (-1), MIDDLE (0), HIGH (1)

        """
    )
    let unnamed = try ToolRun(["layout", file])
    #expect(unnamed.status == 1, "\(unnamed)")
    #expect(unnamed.errors.contains(": tool_kinds, tool_kinds_of_direct_storage"), "\(unnamed)")

    let run = try ToolRun(["layout", file, "tool_kinds_of_direct_storage", "--json"])
    let document = try #require(try run.json() as? [String: Any])
    #expect(document["type"] as? String == "kinds" && document["size"] as? Int == 136)
    #expect(document["userPages"] as? Bool == false)
    let fields = try #require(document["fields"] as? [[String: Any]])
    let level = try #require(fields.first { $0["name"] as? String == "level" })
    #expect(level["offset"] as? Int == 12 && level["size"] as? Int == 4)
    let constants = try #require(level["enumerators"] as? [[String: Any]])
    #expect(constants.map { $0["name"] as? String } == ["LOW", "MIDDLE", "HIGH"])
    #expect(constants.map { $0["number"] as? Int } == [-1, 0, 1])
    let padding = fields.filter { $0["padding"] as? Bool == true }
    #expect(padding.map { $0["offset"] as? Int } == [41, 129])
  }

  @Test func comparedLayouts() throws {
    let directory = "/tmp/kinds-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let (new, old) = (directory + "/new.bpf.o", directory + "/old.bpf.o")
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: new))
    try Data(BPFObjectImage.requestsOld.bytes).write(to: URL(filePath: old))
    for (other, status, isEqual, size) in [(old, 1, false, 40), (new, 0, true, 32)] {
      let compare = [new, "tool_requests", "--compare", other]
      let run = try ToolRun(["layout", "--json"] + compare)
      let document = try #require(try run.json() as? [String: Any], "\(run)")
      #expect(run.status == status && document["equal"] as? Bool == isEqual, "\(run)")
      let layouts = try #require(document["layouts"] as? [[String: Any]])
      #expect(layouts.map { $0["size"] as? Int } == [32, size])
      let table = try ToolRun(["layout"] + compare)
      guard !isEqual else { continue }
      let columns = try #require(table.output.split(separator: "\n").first { $0.contains(new) })
      let (left, right) = (columns.range(of: new), columns.range(of: old))
      #expect(try #require(left).lowerBound < #require(right).lowerBound, "\(table)")
    }
  }

  @Test(arguments: [[], ["--json"]])
  func aTerminalWithFewRows(options: [String]) throws {
    try withThreads {
      let output = try ToolRun.inTerminal(
        rows: 5,
        columns: 900,
        ["watch", id, "--count", "2", "--interval", "0.02"] + options
      ).output
      guard options.isEmpty else {
        #expect(!output.contains("\u{1B}") && output.contains("\"kinds two\""), "\(output)")
        return
      }
      // The first line, the header, one of three values, and a line about the rest.
      let screens = output.components(separatedBy: "\u{1B}[H").dropFirst()
      #expect(screens.count == 2)
      for screen in screens {
        #expect(screen.components(separatedBy: "kinds ").count == 2, "\(screen)")
        #expect(screen.contains("… 2 more\u{1B}[K\r\n\u{1B}[J"), "\(screen)")
      }
    }
  }

  @Test func places() throws {
    let run = try ToolRun(["maps", "--json"])
    let maps = try #require(try run.json() as? [[String: Any]])
    let id = try #require(UInt32(id))
    func place(_ id: UInt32) -> String? {
      maps.first { $0["id"] as? UInt32 == id }?["place"] as? String
    }
    let expected: [BackendKind: String] = [
      .mapped: "mapped pages", .userPage: "user pages", .lookup: "map",
    ]
    #expect(place(id) == expected[storage.backend.kind])
    let other = try direct.info.id
    #expect(place(other) == (storage.backend.kind == .mapped ? "mapped pages" : "map"))
    try withBPFFileSystem { directory in
      let pin = directory.appending("kinds")
      try BPFMap(id: id).pin(at: pin)
      let layout = try ToolRun(["layout", pin.string, "--json"])
      let isInPages = (try layout.json() as? [String: Any])?["userPages"] as? Bool
      #expect(isInPages == (storage.backend.kind == .userPage), "\(layout)")
    }
  }
}
