// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import Testing

/// A complete run of a tool.
struct ToolRun {
  var status: Int32
  var output: String
  var errors: String

  /// Runs a tool.
  ///
  /// - Parameters:
  ///   - arguments: The tool's arguments.
  ///   - tool: Its name.
  ///   - user: The user that runs it, without any capability; nil for that of the test.
  ///   - redirection: The shell's redirection of its descriptors, such as `>&-`.
  ///   - command: A command and its arguments, which runs the command that follows them.
  ///   - input: Its standard input.
  /// - Throws: If it cannot be started.
  init(
    _ arguments: [String],
    tool: String = "mmapstorage",
    as user: Int? = nil,
    redirection: String? = nil,
    under command: [String] = [],
    input: FileHandle = .nullDevice
  ) throws {
    let process = Process()
    let output = Pipe()
    let errors = Pipe()
    try process.set(tool, arguments, as: user)
    if let redirection, let path = process.executableURL?.path {
      process.executableURL = URL(filePath: "/bin/sh")
      process.arguments =
        ["-c", "exec \"$0\" \"$@\" \(redirection)", path] + (process.arguments ?? [])
    }
    if let first = command.first, let path = process.executableURL?.path {
      process.executableURL = URL(filePath: first)
      process.arguments = command.dropFirst() + [path] + (process.arguments ?? [])
    }
    process.standardOutput = output
    process.standardError = errors
    process.standardInput = input
    try process.run()
    // Errors are short, so they fit into the pipe.
    let text = output.fileHandleForReading.readDataToEndOfFile()
    let errorText = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    status = process.terminationStatus
    self.output = String(decoding: text, as: UTF8.self)
    self.errors = String(decoding: errorText, as: UTF8.self)
  }

  /// Runs the tool in a terminal of that size, and returns its status and its screen output.
  static func inTerminal(
    rows: Int,
    columns: Int,
    _ arguments: [String]
  ) throws -> (status: Int32, output: String) {
    let tool = Process()
    try tool.set("mmapstorage", arguments, as: nil)
    let words = [try #require(tool.executableURL?.path)] + (tool.arguments ?? [])
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/script")
    process.arguments = [
      "--quiet", "--return", "--command",
      "stty rows \(rows) cols \(columns); " + words.joined(separator: " "), "/dev/null",
    ]
    process.standardInput = FileHandle.nullDevice
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    process.waitUntilExit()
    return (process.terminationStatus, output)
  }

  func json() throws -> Any {
    try JSONSerialization.jsonObject(with: Data(output.utf8))
  }
}

extension Process {
  /// Runs a tool of this package, optionally as another user without any capability.
  func set(_ tool: String, _ arguments: [String], as user: Int?) throws {
    let path = try tools.appending(tool).string
    guard let user else {
      executableURL = URL(filePath: path)
      self.arguments = arguments
      return
    }
    executableURL = URL(filePath: "/usr/bin/setpriv")
    self.arguments =
      [
        "--reuid=\(user)", "--regid=\(user)", "--clear-groups", "--inh-caps=-all",
        "--bounding-set=-all", "--no-new-privs", path,
      ] + arguments
  }
}

/// A directory with the tools that every user may enter.
private var tools: FilePath {
  get throws { try copied.get() }
}

private let copied = Result<FilePath, any Error> {
  let products = FilePath(CommandLine.arguments[0]).removingLastComponent()
  let directory = URL(filePath: "/tmp/mmapstorage-tools-\(getpid())")
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: true)
  chmod(directory.path, 0o755)
  for name in ["mmapstorage", "mmapstorage-broker", "request-service"] {
    let from = URL(filePath: products.appending(name).string)
    guard FileManager.default.fileExists(atPath: from.path) else { continue }
    try FileManager.default.copyItem(at: from, to: directory.appending(path: name))
  }
  atexit { try? FileManager.default.removeItem(atPath: "/tmp/mmapstorage-tools-\(getpid())") }
  return FilePath(directory.path)
}

/// `struct tool_request` of requests.bpf.c.
struct ToolRequest: MapValue {
  var id: UInt64
  var calls: UInt64
  var priority: UInt32
  var route: InlineArray<12, CChar>
}

/// requests.bpf.c, which counts for this process.
struct RequestsProgram {
  let object: BPFObject
  let storage: TaskLocalStorage<ToolRequest>
  let id: UInt32

  init() throws {
    object = try BPFObject(.requests)
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    try object.attach()
    storage = try TaskLocalStorage(map: object.map("tool_requests"))
    id = try object.map("tool_requests").info.id
  }
}

/// Runs the body with a new BPF file system.
func withBPFFileSystem(_ body: (FilePath) throws -> Void) throws {
  let directory = "/tmp/mmapstorage-bpffs-\(UUID().uuidString)"
  guard mkdir(directory, 0o755) == 0, mount("bpf", directory, "bpf", 0, "mode=0755") == 0 else {
    throw Errno(rawValue: errno)
  }
  defer {
    umount2(directory, CInt(MNT_DETACH))
    rmdir(directory)
  }
  try body(FilePath(directory))
}

/// The reason why BPF cannot be used here, or nil.
let obstacle: String? = {
  do {
    _ = try RequestsProgram()
    return nil
  } catch {
    return "\(error)"
  }
}()

extension Trait where Self == ConditionTrait {
  /// Skips the test if BPF does not work and is not required.
  static var liveKernel: Self {
    let required = getenv("MMAPSTORAGE_REQUIRE").map { String(cString: $0) } ?? ""
    return .enabled(
      if: obstacle == nil || required.split(separator: ",").contains("live"),
      "no BPF here: \(obstacle ?? "")"
    )
  }
}
