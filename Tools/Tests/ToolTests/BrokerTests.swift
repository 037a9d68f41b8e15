// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage
import Testing

/// The broker as a service: a process with two capabilities, and clients.
@Suite(.liveKernel, .serialized) struct BrokerTests {
  @Test func aServiceWithTwoCapabilities() throws {
    let broker = try BrokerProcess(["--user", "0", "--map", "tool_requests"])
    defer { broker.end() }
    let client = try broker.connect()
    let storage = try TaskLocalStorage<ToolRequest>(from: client, "tool_requests")
    try storage.withCurrent { $0.id = 8 }
    #expect(try storage.withCurrent { $0.id } == 8)
    #expect(try client.attachedPrograms() == ["count"])
    // The tool reads the value with the broker's map.
    let values = try #require(
      try ToolRun(["dump", "\(try client.open("tool_requests").map.info.id)", "--json"]).json()
        as? [[String: Any]]
    )
    #expect(values.contains { $0["process"] as? Int == Int(getpid()) })

    broker.process.terminate()  // SIGTERM
    broker.process.waitUntilExit()
    #expect(broker.process.terminationReason == .exit && broker.process.terminationStatus == 0)
    #expect(!client.isConnected)
    #expect(try storage.withCurrent { $0.id } == 8)
  }

  @Test func aBrokerThatIsKilledAndRestarted() throws {
    try withBPFFileSystem { directory in
      let pins = directory.appending("broker").string
      let first = try BrokerProcess(["--user", "0", "--pins", pins], capable: false)
      let client = try first.connect()
      let map = try client.open("tool_requests").map.info.id
      first.end()  // SIGKILL
      #expect(!client.isConnected)
      #expect(try BPFPinDirectory(FilePath(pins)).attachedPrograms() == ["count"])

      let second = try BrokerProcess(["--user", "0", "--pins", pins], capable: false)
      defer { second.end() }
      let again = try second.connect()
      #expect(try again.open("tool_requests").map.info.id == map)
      #expect(try again.attachedPrograms() == ["count"])
      unlink(pins + "/links/count")
      #expect(try again.attachedPrograms() == [])
    }
  }

  @Test func aBrokerWhosePinsWereReplacedSaysSo() throws {
    try withBPFFileSystem { directory in
      let pins = directory.appending("broker")
      let broker = try BrokerProcess(["--user", "0", "--pins", pins.string], capable: false)
      defer { broker.end() }
      let client = try broker.connect()
      let map = try client.open("tool_requests").map.info.id
      #expect(try client.attachedPrograms() == ["count"])
      let other = try BPFObject(.requestsOld)
      #expect(try other.loadAndAttach(pinnedIn: pins, ifDifferent: .replace) == .replaced)
      #expect(try other.map("tool_requests").info.id != map)
      #expect(try BPFPinDirectory(pins).attachedPrograms() == ["count"])
      // The attached program uses another map than the broker's clients.
      #expect(try client.attachedPrograms() == [])
    }
  }

  /// A second broker, which cannot listen, neither replaces pins nor detaches programs.
  @Test func aBrokerThatRunsKeepsItsPins() throws {
    try withBPFFileSystem { directory in
      let pins = directory.appending("broker").string
      let broker = try BrokerProcess(["--user", "0", "--pins", pins], capable: false)
      defer { broker.end() }
      let client = try broker.connect()
      #expect(try client.attachedPrograms() == ["count"])
      try Data(BPFObjectImage.requestsOld.bytes).write(to: URL(filePath: broker.object))
      let arguments = ["--user", "0", "--pins", pins, "--replace", "--socket", broker.path]
      let second = try ToolRun([broker.object] + arguments, tool: "mmapstorage-broker")
      #expect(second.status == 1 && second.errors.contains("another broker"), "\(second)")
      #expect(try client.attachedPrograms() == ["count"])
    }
  }

  @Test func aBrokerWhoseLogIsNotRead() throws {
    let log = Pipe()
    let broker = try BrokerProcess(["--user", "1"], errors: log)
    defer { broker.end() }
    try log.fileHandleForReading.close()
    for _ in 0..<3 {
      // It is rejected, which is logged.
      let error = #expect(throws: BPFError.self) { try broker.connect().attachedPrograms() }
      #expect(error?.kind == .permissionDenied, "\(String(describing: error))")
    }
    #expect(broker.process.isRunning)
  }

  @Test func theSocketOfAPredecessorAndOfASuccessor() throws {
    let path = "/tmp/mmapstorage-\(UUID().uuidString).sock"
    let object = path + ".bpf.o"
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: object))
    defer {
      unlink(path)
      unlink(object)
    }
    func start() throws -> Process {
      let broker = Process()
      try broker.set("mmapstorage-broker", [object, "--user", "0", "--socket", path], as: nil)
      broker.standardError = FileHandle.nullDevice
      try broker.run()
      while broker.isRunning, (try? BrokerClient(connectingTo: FilePath(path))) == nil {
        usleep(10_000)
      }
      return broker
    }
    func end(_ broker: Process) {
      broker.terminate()
      broker.waitUntilExit()
    }
    let killed = try start()
    #expect(kill(killed.processIdentifier, SIGKILL) == 0)
    killed.waitUntilExit()
    #expect(access(path, F_OK) == 0)
    let first = try start()
    #expect((try? BrokerClient(connectingTo: FilePath(path)).attachedPrograms()) == ["count"])
    #expect(unlink(path) == 0)
    let second = try start()
    end(first)
    let programs = try? BrokerClient(connectingTo: FilePath(path)).attachedPrograms()
    #expect(programs == ["count"])
    end(second)
    #expect(access(path, F_OK) != 0)
  }

  @Test func whomItServes() throws {
    let broker = try BrokerProcess(["--group", "65534"])
    defer { broker.end() }
    let client = try broker.connect()
    let error = #expect(throws: BPFError.self) { try client.open("tool_requests") }
    #expect(error?.kind == .permissionDenied)
    #expect(try ToolRun(["/dev/null"], tool: "mmapstorage-broker").status == 64)
    let noSocket = try ToolRun([broker.object, "--user", "0"], tool: "mmapstorage-broker")
    #expect(noSocket.status == 1 && noSocket.errors.contains("pass --socket"), "\(noSocket)")
    let noRights = try ToolRun(
      [broker.object, "--user", "0", "--socket", "/tmp/no-such-socket-\(getpid())"],
      tool: "mmapstorage-broker",
      as: 65534
    )
    #expect(noRights.status == 1 && noRights.errors.contains("CAP_BPF"), "\(noRights)")
  }

  @Test func theUnitsAreValid() throws {
    let analyze = "/usr/bin/systemd-analyze"
    guard access(analyze, X_OK) == 0 else { try Test.cancel("there is no systemd-analyze here") }
    let units = FilePath(#filePath).removingLastComponent().removingLastComponent()
      .removingLastComponent().appending("systemd")
    let directory = "/tmp/mmapstorage-units-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: directory,
      withIntermediateDirectories: false
    )
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let names = [
      "mmapstorage-broker.service", "mmapstorage-broker.socket", "request-service.service",
    ]
    for name in names {
      let text = try String(contentsOfFile: units.appending(name).string, encoding: .utf8)
      // The program need not be installed for checking the rest.
      try text.replacing(/\/usr\/local\/bin\/[a-z-]+/, with: "/bin/true")
        .write(toFile: directory + "/" + name, atomically: true, encoding: .utf8)
    }
    let process = Process()
    process.executableURL = URL(filePath: analyze)
    process.arguments = ["verify", "--man=no"] + names.map { directory + "/" + $0 }
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let text = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    #expect(process.terminationStatus == 0, "\(text)")
    #expect(!text.contains("mmapstorage-broker"), "\(text)")
  }
}

/// A running mmapstorage-broker that received its socket as from systemd.
private final class BrokerProcess {
  let process = Process()
  let object: String
  let path: String

  // `capable`: as user 65533 with CAP_BPF and CAP_PERFMON, instead of as root.
  init(_ arguments: [String], capable: Bool = true, errors: Pipe? = nil) throws {
    let name = UUID().uuidString
    path = "/tmp/mmapstorage-\(name).sock"
    object = "/tmp/mmapstorage-\(name).bpf.o"
    try Data(BPFObjectImage.requests.bytes).write(to: URL(filePath: object))
    let socket = try BrokerServer.listen(at: FilePath(path))
    defer { try? socket.close() }
    let tool = Process()
    try tool.set("mmapstorage-broker", [], as: nil)
    let program = tool.executableURL?.path ?? ""
    let rights =
      capable
      ? "setpriv --reuid=65533 --regid=65533 --clear-groups --inh-caps=-all,+bpf,+perfmon "
        + "--ambient-caps=-all,+bpf,+perfmon --bounding-set=-all,+bpf,+perfmon --no-new-privs " : ""
    process.executableURL = URL(filePath: "/bin/sh")
    process.arguments = [
      "-c",
      "export LISTEN_PID=$$ LISTEN_FDS=1; exec 3<&0 0</dev/null; exec \(rights)\"$0\" \"$@\"",
      program, object,
    ]
    process.arguments? += arguments
    process.standardInput = FileHandle(fileDescriptor: socket.rawValue, closeOnDealloc: false)
    process.standardOutput = FileHandle.nullDevice
    if let errors { process.standardError = errors }
    try process.run()
    try errors?.fileHandleForWriting.close()
  }

  /// The socket exists before the broker runs, so the first request waits until its programs are
  /// loaded.
  func connect() throws -> BrokerClient {
    try BrokerClient(connectingTo: FilePath(path), timeout: .seconds(60))
  }

  /// Kills it.
  func end() {
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  deinit {
    end()
    unlink(path)
    unlink(object)
  }
}
