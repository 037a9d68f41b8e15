// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import Testing

/// The tool as users run it.
@Suite(.liveKernel, .serialized) struct ToolTests {
  @Test func doctorForRoot() throws {
    let run = try ToolRun(["doctor"])
    #expect(run.status == 0 || run.status == 2, "\(run)")
    #expect(run.output.contains("+  kernel"))
    #expect(run.output.contains("reading all tasks (iterator)"))
    let json = try ToolRun(["doctor", "--json"])
    let document = try #require(try json.json() as? [String: Any])
    #expect(document["status"] as? Int == Int(json.status))
    let checks = try #require(document["checks"] as? [[String: String]])
    for name in ["task storage", "capabilities", "reading all tasks (iterator)"] {
      #expect(checks.contains { $0["name"] == name && $0["result"] == "ok" }, "\(name)")
    }
  }

  @Test func doctorForNobody() throws {
    let run = try ToolRun(["doctor"], as: 65534)
    #expect(run.status == 1, "\(run)")
    #expect(run.output.contains("CAP_BPF") && run.output.contains("from a broker"))
  }

  @Test func mapsOfTheMachine() throws {
    try withBPFFileSystem { directory in
      let requests = try RequestsProgram()
      let path = directory.appending("requests")
      try requests.object.map("tool_requests").pin(at: path, attributes: .group(65534))
      let maps = try #require(try ToolRun(["maps", "--json"]).json() as? [[String: Any]])
      let map = try #require(maps.first { $0["id"] as? Int == Int(requests.id) })
      #expect(map["name"] as? String == "tool_requests")
      #expect(map["valueType"] as? String == "tool_request")
      #expect(map["valueSize"] as? Int == 32)
      #expect((map["memory"] as? Int ?? 0) > 0)
      let pins = try #require(map["pins"] as? [[String: Any]])
      #expect(pins.map { $0["path"] as? String } == [path.string])
      #expect(pins.map { $0["mode"] as? String } == ["0660"])
      #expect(pins.map { $0["group"] as? Int } == [65534])
      let programs = try #require(map["programs"] as? [[String: Any]])
      #expect(programs.map { $0["name"] as? String } == ["count"])
      let processes = try #require(map["processes"] as? [[String: Any]])
      #expect(processes.contains { $0["id"] as? Int == Int(getpid()) })

      let text = try ToolRun(["maps"])
      #expect(text.output.hasPrefix("ID") || text.output.contains("  NAME"))
      #expect(text.output.contains("\(path) (0660 0:65534)"))
      let nobody = try ToolRun(["maps"], as: 65534)
      #expect(nobody.status == 1 && nobody.errors.contains("CAP_SYS_ADMIN"), "\(nobody)")
    }
  }

  @Test func manyPinsOfAMap() throws {
    try withBPFFileSystem { directory in
      let requests = try RequestsProgram()
      let paths = (1...6).map { directory.appending("pin\($0)") }
      for path in paths { try requests.object.map("tool_requests").pin(at: path) }
      let maps = try #require(try ToolRun(["maps", "--json"]).json() as? [[String: Any]])
      let map = try #require(maps.first { $0["id"] as? Int == Int(requests.id) })
      #expect((map["pins"] as? [Any])?.count == 6)
      let line = try #require(
        try ToolRun(["maps"]).output.split(separator: "\n").first { $0.contains("\(paths[0]) (") }
      )
      #expect(line.contains("\(paths[2]) (") && !line.contains("\(paths[3]) ("))
      #expect(line.contains(", … 3 more"), "\(line)")
    }
  }

  /// The kernel returns its list of mounts a page at a time, with some characters escaped.
  @Test func pinsBehindManyMounts() throws {
    try withBPFFileSystem { directory in
      let requests = try RequestsProgram()
      try requests.object.map("tool_requests").pin(at: directory.appending("requests"))
      let scratch = directory.string + "-mounts"
      try FileManager.default.createDirectory(atPath: scratch, withIntermediateDirectories: false)
      defer { try? FileManager.default.removeItem(atPath: scratch) }
      let tool = Process()
      try tool.set("mmapstorage", [], as: nil)
      let script = """
        set -e
        mount -t tmpfs scratch "$1"
        for number in $(seq 120); do
          mkdir "$1/$number"
          mount -t tmpfs "$(printf %0100d "$number")" "$1/$number"
        done
        mkdir "$1/two words\\040"
        mount --bind "$2" "$1/two words\\040"
        umount "$2"
        "$3" maps --json
        """
      let process = Process()
      process.executableURL = URL(filePath: "/usr/bin/unshare")
      process.arguments = [
        "--mount", "--propagation", "private", "/bin/sh", "-c", script, "sh", scratch,
        directory.string, try #require(tool.executableURL?.path),
      ]
      let pipe = Pipe()
      process.standardOutput = pipe
      try process.run()
      let output = pipe.fileHandleForReading.readDataToEndOfFile()
      process.waitUntilExit()
      #expect(process.terminationStatus == 0)
      let maps = try #require(try JSONSerialization.jsonObject(with: output) as? [[String: Any]])
      let map = try #require(maps.first { $0["id"] as? Int == Int(requests.id) })
      let pins = try #require(map["pins"] as? [[String: Any]])
      #expect(pins.map { $0["path"] as? String } == [scratch + "/two words\\040/requests"])
    }
  }

  @Test func dumpOfOtherProcesses() throws {
    try withBPFFileSystem { directory in
      let requests = try RequestsProgram()
      let path = directory.appending("requests").string
      try requests.object.map("tool_requests").pin(at: FilePath(path))
      try requests.storage.withCurrent {
        $0.id = 42
        $0.priority = 7
        $0.route[0] = 47
        $0.route[1] = 27  // an escape character must not reach the terminal
      }
      for _ in 0..<3 { _ = getppid() }

      for argument in [path, "\(requests.id)"] {
        let values = try #require(
          try ToolRun(["dump", argument, "--json"]).json() as? [[String: Any]]
        )
        #expect(values.count == 1)
        #expect(values.first?["process"] as? Int == Int(getpid()))
        let value = try #require(values.first?["value"] as? [String: Any])
        #expect(value["id"] as? Int == 42 && value["priority"] as? Int == 7)
        #expect((value["calls"] as? Int ?? 0) >= 3)
        #expect(value["route"] as? String == "/\u{1B}")
      }
      let text = try ToolRun(["dump", path])
      #expect(text.output.contains("PROCESS") && text.output.contains("priority"))
      #expect(text.output.contains("\"/\\u{1B}\"") && !text.output.contains("\u{1B}"))
      let one = try ToolRun(["dump", path, "--field", "id", "--process", "\(getpid())"])
      #expect(one.output.contains("42") && !one.output.contains("priority"))
      let none = try ToolRun(["dump", path, "--json", "--process", "no-such-process"])
      #expect(try none.json() as? [Int] == [])
    }
  }

  @Test func controlCharactersAreEscaped() throws {
    let requests = try RequestsProgram()
    // DEL, and the one-character form of the escape sequence ESC [.
    try requests.storage.withCurrent { request in
      for (index, byte) in "/\u{7F}\u{9B}2J".utf8.enumerated() {
        request.route[index] = CChar(bitPattern: byte)
      }
    }
    for arguments in [["dump", "--json"], ["dump"], ["watch", "--count", "1", "--json"]] {
      let run = try ToolRun([arguments[0], "\(requests.id)"] + arguments.dropFirst())
      let controls = run.output.unicodeScalars.filter {
        $0.properties.generalCategory == .control && $0 != "\n"
      }
      #expect(run.status == 0 && controls.isEmpty, "\(run)")
      guard arguments == ["dump", "--json"] else { continue }
      let values = try #require(try run.json() as? [[String: Any]])
      let value = try #require(values.first?["value"] as? [String: Any])
      #expect(value["route"] as? String == "/\u{7F}\u{9B}2J")
    }
  }

  @Test func dumpWithTheLayoutOfAnObjectFile() throws {
    let file = "/tmp/requests-\(UUID().uuidString).bpf.o"
    try Data(BPFObjectImage.requestsOld.bytes).write(to: URL(filePath: file))
    defer { unlink(file) }
    let old = try RequestsOld.open().load(attaching: false)
    try old.maps.toolRequests.withCurrent { $0.id = 42 }
    // Its name is longer than the name that the kernel stores.
    try old.maps.toolRequestsByTime.withCurrent { $0.span.start = 5 }
    for (map, field, number) in [
      ("tool_requests", "id", 42), ("tool_requests_by_time", "span.start", 5),
    ] {
      let id = try old.object.map(map).info.id
      let run = try ToolRun(["dump", "\(id)", "--object", file, "--json"])
      #expect(run.status == 0, "\(run)")
      let values = try #require(try run.json() as? [[String: Any]])
      #expect(values.map { ($0["value"] as? [String: Any])?[field] as? Int } == [number])
    }
  }

  @Test func onlyAFieldCanBeSortedBy() throws {
    let old = try RequestsOld.open().load(attaching: false)
    let id = try "\(old.object.map("tool_requests_by_time").info.id)"
    #expect(try ToolRun(["dump", id, "--field", "span", "--sort", "span.start"]).status == 0)
    let run = try ToolRun(["dump", id, "--sort", "span"])
    #expect(run.status == 1 && run.errors.contains("span.start, span.end"), "\(run)")
  }

  @Test func valuesAreSortedAndChosen() throws {
    let requests = try RequestsProgram()
    let storage = requests.storage
    let isReady = DispatchSemaphore(value: 0), mayEnd = DispatchSemaphore(value: 0)
    let ids: [UInt64] = [10, 1 << 63, 9]
    for id in ids {
      Thread.detachNewThread {
        do { try storage.withCurrent { $0.id = id } } catch { Issue.record(error) }
        isReady.signal()
        mayEnd.wait()
      }
    }
    for _ in ids { isReady.wait() }
    defer { for _ in ids { mayEnd.signal() } }
    func dump(_ options: String...) throws -> [(thread: Int, id: UInt64)] {
      let run = try ToolRun(["dump", "\(requests.id)", "--json"] + options)
      let values = try #require(try run.json() as? [[String: Any]])
      return try values.map { value in
        (
          try #require(value["thread"] as? Int),
          try #require((value["value"] as? [String: Any])?["id"] as? UInt64)
        )
      }
    }
    #expect(try dump("--sort", "id").map(\.id) == [1 << 63, 10, 9])
    let all = try dump()
    #expect(all.count == 3 && all.map(\.thread) == all.map(\.thread).sorted())
    let last = try #require(all.last)
    #expect(try dump("--thread", "\(last.thread)").map(\.id) == [last.id])
    #expect(try dump("--thread", "no such thread").isEmpty)
  }

  @Test func wrongArguments() throws {
    let requests = try RequestsProgram()
    let field = try ToolRun(["dump", "\(requests.id)", "--field", "nothing"])
    #expect(field.status == 1 && field.errors.contains("id, calls, priority, route"), "\(field)")
    let map = try ToolRun(["dump", "no_such_map"])
    #expect(map.status == 1 && map.errors.contains("mmapstorage maps"))
    try withBPFFileSystem { directory in
      let pin = try ToolRun(["dump", directory.appending("no/such/pin").string])
      #expect(pin.status == 1 && pin.errors.contains("nothing is pinned there"), "\(pin)")
    }
    #expect(try ToolRun(["dump"]).status == 64)
    #expect(try ToolRun(["watch", "1", "--interval", "0"]).status == 64)
    #expect(try ToolRun(["layout", "/dev/null"]).status == 1)
  }

  @Test func adviceFitsTheTool() throws {
    let requests = try RequestsProgram()
    let file = "/tmp/requests-\(UUID().uuidString).bpf.o"
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: file))
    defer { unlink(file) }
    let section = try ToolRun(["layout", file, "requests.rodata"])
    #expect(section.status == 1 && section.errors.contains("of global variables"), "\(section)")
    try withBPFFileSystem { directory in
      let pin = directory.appending("requests").string
      try requests.object.map("tool_requests").pin(at: FilePath(pin))
      chmod(pin, 0o644)
      let dump = try ToolRun(["dump", pin], as: 65534)
      #expect(dump.status == 1 && dump.errors.contains("with --object"), "\(dump)")
      let layout = try ToolRun(["layout", pin], as: 65534)
      #expect(layout.status == 1 && layout.errors.contains("pass the object file"), "\(layout)")

      let link = directory.appending("link")
      try requests.object.program("count").link().pin(at: link)
      let linked = try ToolRun(["layout", link.string])
      #expect(linked.status == 1 && linked.errors.contains("is a BPF link"), "\(linked)")
    }
  }

  @Test(arguments: [["--help"], ["a", "b", "c"], ["--socket"]])
  func usageOfTheSampleService(arguments: [String]) throws {
    let run = try ToolRun(arguments, tool: "request-service")
    #expect(run.status == (arguments == ["--help"] ? 0 : 64))
    #expect(run.output.hasPrefix("usage: request-service [SOCKET]"), "\(run)")
  }

  /// Status 0 means that the output is complete.
  @Test(
    arguments: ["doctor", "maps", "dump", "layout"],
    [
      ("> /dev/full", "cannot write to standard output: No space left on device"),
      (">&-", "standard output is closed"),
    ]
  )
  func outputThatCannotBeWritten(
    command: String,
    output: (redirection: String, error: String)
  ) throws {
    let requests = try RequestsProgram()
    let file = "/tmp/requests-\(UUID().uuidString).bpf.o"
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: file))
    defer { unlink(file) }
    let arguments =
      switch command {
      case "dump": ["dump", "\(requests.id)"]
      case "layout": ["layout", file]
      default: [command]
      }
    for options in [[], ["--json"]] {
      let run = try ToolRun(arguments + options, redirection: output.redirection)
      #expect(run.status == 1 && run.errors.contains(output.error), "\(run)")
    }
  }

  @Test func watchInAPipe() throws {
    let requests = try RequestsProgram()
    try requests.storage.withCurrent { $0.id = 1 }
    let process = Process()
    let pipe = Pipe()
    try process.set("mmapstorage", ["watch", "\(requests.id)", "--interval", "0.02"], as: nil)
    process.standardOutput = pipe
    try process.run()
    defer {
      // A child inherits the blocked signals of the test's thread, including SIGTERM.
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
    }
    var lines = LineReader(pipe.fileHandleForReading)
    let first = try lines.next()
    #expect(first.contains("[\(getpid())]") && first.contains(" id=1 "), "\(first)")
    #expect(!first.contains("*"))
    try requests.storage.withCurrent { $0.id = 2 }
    let second = try lines.next()
    #expect(second.contains("id=*2 ") && !second.contains("priority=*"), "\(second)")
  }

  @Test func watchInATerminal() throws {
    let requests = try RequestsProgram()
    try requests.storage.withCurrent { $0.id = 1 }
    let (status, output) = try ToolRun.inTerminal(
      rows: 8,
      columns: 24,
      ["watch", "\(requests.id)", "--interval", "0.02", "--count", "3", "--field", "id"]
    )
    // Drawn three times, at the same place.
    #expect(output.components(separatedBy: "\u{1B}[H").count == 4, "\(output)")
    #expect(output.contains("every 0.02 s") && output.contains("PROCESS"))
    let rows = output.components(separatedBy: "\u{1B}[K").filter { $0.contains("PID") }
    #expect(!rows.isEmpty && rows.allSatisfy { $0.drop { $0.isWhitespace }.count <= 24 }, "\(rows)")
    #expect(status == 0)
  }

  @Test func watchAsJSON() throws {
    let requests = try RequestsProgram()
    try requests.storage.withCurrent { $0.id = 5 }
    let run = try ToolRun(["watch", "\(requests.id)", "--count", "1", "--json"])
    let line = try #require(run.output.split(separator: "\n").first)
    let object = try JSONSerialization.jsonObject(with: Data(line.utf8)) as? [String: Any]
    #expect((object?["value"] as? [String: Any])?["id"] as? Int == 5)
  }

  @Test func layouts() throws {
    try withBPFFileSystem { directory in
      let file = "/tmp/requests-\(UUID().uuidString).bpf.o"
      try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: file))
      defer { unlink(file) }
      let text = try ToolRun(["layout", file])
      #expect(
        text.output == """
          OFFSET  BYTES  TYPE      FIELD
               0      8  u64       id
               8      8  u64       calls
              16      4  u32       priority
              20     12  char[12]  route
              32                   end of tool_request

          """
      )
      let requests = try RequestsProgram()
      let path = directory.appending("requests")
      try requests.object.map("tool_requests").pin(at: path)
      let same = try ToolRun(["layout", file, "--compare", path.string])
      #expect(same.status == 0 && same.output == "The layouts are equal.\n", "\(same)")

      let other = try BPFObject(.requestsOld)
      try other.load()
      let oldPath = directory.appending("old")
      try other.map("tool_requests").pin(at: oldPath)
      let different = try ToolRun(["layout", file, "--compare", oldPath.string])
      #expect(different.status == 1)
      #expect(different.output.contains("!  calls"), "\(different)")
      let padded = try ToolRun(["layout", oldPath.string, "--json"])
      let fields = (try padded.json() as? [String: Any])?["fields"] as? [[String: Any]]
      #expect(fields?.contains { $0["padding"] as? Bool == true } == true)
    }
  }
}

/// Reads lines as they arrive.
struct LineReader {
  private let file: FileHandle
  private var rest = Data()

  init(_ file: FileHandle) { self.file = file }

  mutating func next() throws -> String {
    while true {
      if let end = rest.firstIndex(of: 10) {
        let line = String(decoding: rest[..<end], as: UTF8.self)
        rest = Data(rest[(end + 1)...])
        return line
      }
      let more = file.availableData
      guard !more.isEmpty else { throw Errno.brokenPipe }
      rest += more
    }
  }
}
