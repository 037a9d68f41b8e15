// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import MmapStorage
import MmapStorageBroker
import SystemPackage
import Testing

/// The options of `mmapstorage-broker`.
@Suite(.liveKernel, .serialized) struct BrokerOptionsTests {
  @Test(arguments: [
    (["--user", "0", "--socket-mode", "1000"], "--socket-mode"),
    (["--user", "0", "--socket-mode", "8"], "--socket-mode"),
    (["--user", "0", "--socket", "@broker"], "abstract sockets"),
    (["--user", "0", "--replace"], "--replace needs --pins"),
    (["--user", "0", "--pin-group", "0"], "--pin-group needs --pins"),
    ([], "--user or --group"),
  ])
  func wrongOptions(options: [String], error: String) throws {
    let run = try ToolRun(["/dev/null"] + options, tool: "mmapstorage-broker")
    #expect(run.status == 64 && run.errors.contains(error), "\(run)")
  }

  @Test(arguments: ["user", "group"])
  func namesThatDoNotExist(kind: String) throws {
    let run = try ToolRun(["/dev/null", "--\(kind)", "no-such-name"], tool: "mmapstorage-broker")
    #expect(run.status == 1 && run.errors.contains("no \(kind) 'no-such-name'"), "\(run)")
  }

  /// -1 is no id: chown(2) does not change the owner then.
  @Test(arguments: ["--user", "--group", "--pin-group"])
  func minusOneIsNoID(option: String) throws {
    let run = try ToolRun(
      ["/dev/null", "\(option)=4294967295"]
        + (option == "--pin-group" ? ["--user", "0", "--pins", "/sys/fs/bpf/no-such-pins"] : []),
      tool: "mmapstorage-broker"
    )
    #expect(run.status == 1 && run.errors.contains("4294967295 is not the id"), "\(run)")
  }

  @Test func whomItServesByName() throws {
    let user = try String(cString: #require(getpwuid(65534)).pointee.pw_name)
    let group = try String(cString: #require(getgrgid(65534)).pointee.gr_name)
    for (options, isServed) in [
      (["--user", user], false), (["--user", "0", "--user", user], true),
      (["--user", user, "--user", "0"], true), (["--group", group], false),
      (["--user", user, "--group", "\(getgid())"], true),
    ] {
      try withBroker(options) { broker in
        let opened = Result { try broker.connect().open("tool_requests") }
        switch opened {
        case .success: #expect(isServed, "\(options)")
        case .failure(let error):
          let kind = (error as? BPFError)?.kind
          #expect(!isServed && kind == .permissionDenied, "\(options): \(error)")
        }
      }
    }
  }

  @Test func permissionsOfTheSocket() throws {
    for (options, mode) in [([], 0o666), (["--socket-mode", "0640"], 0o640)] {
      try withBroker(["--user", "0"] + options) { broker in
        // It replies after it has set the permissions and installed its signal handlers.
        _ = try broker.connect().attachedPrograms()
        var info = stat()
        try #require(stat(broker.socket, &info) == 0)
        #expect(info.st_mode & 0o7777 == mode, "\(options)")
        #expect(broker.end(SIGINT) == 0)
        #expect(access(broker.socket, F_OK) != 0)
      }
    }
  }

  @Test func whatItOffers() throws {
    try withBroker(["--user", "0"], .requestsOld) { broker in
      let client = try broker.connect()
      for name in ["tool_requests", "tool_requests_by_time"] {
        #expect(try client.open(name).map.info.type == .taskStorage)
      }
      // Not the maps of global variables.
      let error = #expect(throws: BPFError.self) { try client.open("others") }
      #expect(error?.advice == "it offers: tool_requests, tool_requests_by_time")
    }
    try withBroker(["--user", "0", "--map", "tool_requests"], .requestsOld) { broker in
      let client = try broker.connect()
      #expect(try client.open("tool_requests").map.info.type == .taskStorage)
      let error = #expect(throws: BPFError.self) { try client.open("tool_requests_by_time") }
      #expect(error?.kind == .notFound)
    }
  }

  @Test func mapsThatItCannotOffer() throws {
    let file = "/tmp/counts-\(UUID().uuidString).bpf.o"
    defer { unlink(file) }
    try withBPFFileSystem { root in
      let directory = root.appending("broker").string
      for (image, options, message) in [
        (
          BPFObjectImage.requests, ["--map", "tool_requestz", "--pins", directory],
          "has no map 'tool_requestz'; its maps are: tool_requests"
        ),
        (.withoutStorage, [], "has no task storage map"),
      ] {
        try Data(image.bytes).write(to: URL(filePath: file))
        let run = try ToolRun(
          [file, "--user", "0", "--socket", file + ".sock"] + options,
          tool: "mmapstorage-broker",
          under: ["/usr/bin/timeout", "10"]
        )
        #expect(run.status == 1 && run.errors.contains(message), "\(run)")
        #expect(access(file + ".sock", F_OK) != 0)
      }
      // No program is attached.
      #expect(access(directory, F_OK) != 0)
    }
  }

  @Test func readOnlyOffers() throws {
    try withBroker(["--user", "0", "--read-only"]) { broker in
      let map = try broker.connect().open("tool_requests").map
      let error = #expect(throws: BPFError.self) {
        try TaskLocalStorage<ToolRequest>(map: map).withCurrent { $0.id = 1 }
      }
      #expect(error?.kind == .permissionDenied, "\(String(describing: error))")
    }
  }

  @Test func groupsAndReplacementOfPins() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("broker")
      let pins = BPFPinDirectory(directory)
      let options = ["--user", "0", "--pins", directory.string, "--pin-group", "65534"]
      try withBroker(options) { broker in
        _ = try broker.connect().open("tool_requests")
        var info = stat()
        try #require(stat(pins.map("tool_requests").string, &info) == 0)
        #expect(info.st_gid == 65534 && info.st_mode & 0o777 == 0o660)
        #expect(broker.end(SIGTERM) == 0)
      }
      let file = "/tmp/old-\(UUID().uuidString).bpf.o"
      try Data(BPFObjectImage.requestsOld.bytes).write(to: URL(filePath: file))
      defer { unlink(file) }
      let id = try BPFMap(pinnedAt: pins.map("tool_requests")).info.id
      let refused = try ToolRun(
        [file] + options + ["--socket", file + ".sock"],
        tool: "mmapstorage-broker",
        under: ["/usr/bin/timeout", "60"]
      )
      #expect(refused.status == 1 && refused.errors.contains("replace"), "\(refused)")
      #expect(try BPFMap(pinnedAt: pins.map("tool_requests")).info.id == id)
      try withBroker(options + ["--replace"], .requestsOld) { broker in
        let replaced = try broker.connect().open("tool_requests").map.info.id
        #expect(replaced != id)
        #expect(try BPFMap(pinnedAt: pins.map("tool_requests")).info.id == replaced)
      }
    }
  }

  /// sd_listen_fds(3)
  @Test func socketsThatAreNotFromSystemd() throws {
    let file = "/tmp/requests-\(UUID().uuidString).bpf.o"
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: file))
    defer { unlink(file) }
    let packets = try BrokerServer.listen(at: FilePath(file + ".sock"))
    defer {
      try? packets.close()
      unlink(file + ".sock")
    }
    let stream = socket(AF_UNIX, CInt(SOCK_STREAM.rawValue), 0)
    defer { close(stream) }
    // As with Accept=yes.
    var connection: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, CInt(SOCK_SEQPACKET.rawValue), 0, &connection) == 0)
    defer { for end in connection { close(end) } }
    for (environment, socket, error) in [
      ("LISTEN_PID=1 LISTEN_FDS=1", packets.rawValue, "no socket from systemd"),
      ("LISTEN_PID=$$ LISTEN_FDS=0", packets.rawValue, "no socket from systemd"),
      ("LISTEN_PID=$$ LISTEN_FDS=2", packets.rawValue, "2 sockets from systemd"),
      ("LISTEN_PID=$$ LISTEN_FDS=1", stream, "is of another type"),
      ("LISTEN_PID=$$ LISTEN_FDS=1", connection[0], "use Accept=no"),
    ] {
      let run = try ToolRun(
        [file, "--user", "0"],
        tool: "mmapstorage-broker",
        under: [
          "/usr/bin/timeout", "60", "/bin/sh", "-c",
          "export \(environment); exec \"$0\" \"$@\" 3<&0 </dev/null",
        ],
        input: FileHandle(fileDescriptor: socket, closeOnDealloc: false)
      )
      #expect(run.status == 1 && run.errors.contains(error), "\(environment): \(run)")
    }
  }
}

/// Runs the body with a broker, and ends the broker.
private func withBroker(
  _ options: [String],
  _ image: BPFObjectImage = .requests,
  _ body: (ListeningBroker) throws -> Void
) throws {
  let broker = try ListeningBroker(options, image)
  defer { broker.remove() }
  try body(broker)
}

/// A broker that created its socket.
private final class ListeningBroker {
  let socket: String
  private let object: String
  private let process = Process()

  init(_ options: [String], _ image: BPFObjectImage = .requests) throws {
    let name = "/tmp/mmapstorage-\(UUID().uuidString)"
    (socket, object) = (name + ".sock", name + ".bpf.o")
    try Data(image.bytes).write(to: URL(filePath: object))
    try process.set("mmapstorage-broker", [object, "--socket", socket] + options, as: nil)
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    while process.isRunning, access(socket, F_OK) != 0 { usleep(10_000) }
  }

  func remove() {
    _ = end(SIGKILL)
    unlink(socket)
    unlink(object)
  }

  func connect() throws -> BrokerClient {
    while true {
      do throws(BPFError) {
        return try BrokerClient(connectingTo: FilePath(socket), timeout: .seconds(60))
      } catch {
        // A socket has its path before it listens.
        guard error.errno == .connectionRefused, process.isRunning else { throw error }
      }
    }
  }

  func end(_ signal: CInt) -> Int32 {
    if process.isRunning { kill(process.processIdentifier, signal) }
    process.waitUntilExit()
    return process.terminationStatus
  }
}
