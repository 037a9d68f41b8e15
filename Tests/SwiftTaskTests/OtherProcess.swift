// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import Glibc
import MmapStorage
import SystemPackage

/// Mounts a BPF file system, and pins storages on it.
func withPins(
  of object: BPFObject,
  _ names: [String],
  attributes: BPFPinAttributes = BPFPinAttributes(),
  _ body: (FilePath) async throws -> Void
) async throws {
  var template = Array("/tmp/swift-tasks-XXXXXX".utf8CString)
  guard mkdtemp(&template) != nil else { throw Errno(rawValue: errno) }
  let path = String(decoding: template.dropLast().map { UInt8(bitPattern: $0) }, as: UTF8.self)
  defer { rmdir(path) }
  guard mount("bpf", path, "bpf", 0, "mode=0755") == 0 else { throw Errno(rawValue: errno) }
  defer { umount2(path, CInt(MNT_DETACH)) }
  for name in names {
    try object.pinSwiftTaskStorage(name, in: FilePath(path), attributes: attributes)
  }
  try await body(FilePath(path))
}

/// A descriptor of a pinned program.
func openProgram(_ path: FilePath) throws -> FileDescriptor {
  let program = try BPFProgram(pinnedAt: path)
  return try FileDescriptor(rawValue: program.descriptor).duplicate()
}

/// A running swift-task-process.
final class OtherProcess {
  private(set) var id: pid_t = 0
  private let output: FileDescriptor
  private let input: FileDescriptor

  /// Runs `swift-task-process`, with a wrapper program if there is one.
  init(_ arguments: [String], by starter: [String] = []) throws {
    let (read, write) = try FileDescriptor.pipe()
    let (childInput, ownInput) = try FileDescriptor.pipe()
    output = read
    input = ownInput
    for descriptor in [read, ownInput] { _ = fcntl(descriptor.rawValue, F_SETFD, FD_CLOEXEC) }
    var actions = posix_spawn_file_actions_t()
    posix_spawn_file_actions_init(&actions)
    posix_spawn_file_actions_adddup2(&actions, childInput.rawValue, 0)
    posix_spawn_file_actions_adddup2(&actions, write.rawValue, 1)
    defer { posix_spawn_file_actions_destroy(&actions) }
    let program = FilePath(CommandLine.arguments[0]).removingLastComponent()
      .appending("swift-task-process").string
    let command = starter + [program] + arguments
    let strings = command.map { strdup($0) } + [nil]
    defer { strings.forEach { free($0) } }
    let code = posix_spawnp(&id, command[0], &actions, nil, strings, environ)
    try write.close()
    try childInput.close()
    guard code == 0 else { throw Errno(rawValue: code) }
  }

  deinit {
    try? output.close()
    try? input.close()
  }

  /// Waits for the next output.
  func read() throws -> String {
    var bytes = [UInt8](repeating: 0, count: 256)
    let count = try bytes.withUnsafeMutableBytes { try output.read(into: $0) }
    return String(decoding: bytes.prefix(count), as: UTF8.self)
  }

  /// Waits for the end. Returns the output and the status.
  func end() throws -> (output: String, status: CInt) {
    var text = ""
    while case let more = try read(), !more.isEmpty { text += more }
    var status: CInt = 0
    waitpid(id, &status, 0)
    return (text, status)
  }

  /// Kills the process, which then stays as a zombie until `end()`.
  func killWithoutReaping() throws {
    Glibc.kill(id, SIGKILL)
    var info = siginfo_t()
    guard waitid(P_PID, id_t(id), &info, WEXITED | WNOWAIT) == 0 else {
      throw Errno(rawValue: errno)
    }
  }

  func kill() throws {
    Glibc.kill(id, SIGKILL)
    _ = try end()
  }
}
