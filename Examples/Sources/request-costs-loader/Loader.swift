// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import Glibc
import MmapStorage
import RequestCosts
import SystemPackage

@main
struct Loader: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "request-costs-loader",
    abstract: "Loads the programs of RequestCosts for servers without privileges.",
    discussion: """
      Needs CAP_BPF and CAP_PERFMON, or root. Pins what servers need, and keeps the programs attached \
      until SIGTERM, SIGINT or SIGHUP; then it removes the pins. A server that runs in the group opens \
      them with RequestCosts.start(logger:pinnedIn:).
      """
  )

  @Option(help: "A new directory on a BPF file system, for the pins.")
  var directory = "/sys/fs/bpf/request-costs"

  @Option(help: "The group whose members may use the programs, by name or number.")
  var group: String?

  @Option(help: "Samples per second and processor, at most 100000.")
  var frequency = 997

  @Flag(help: "Remove the pins of a loader that was killed.")
  var replace = false

  func validate() throws {
    guard (1...100_000).contains(frequency) else {
      throw ValidationError("--frequency takes 1 to 100000")
    }
  }

  func run() throws {
    // Before there is anything to remove.
    let signals = blockSignals()
    let path = FilePath(directory)
    let group = try self.group.map { try number(of: $0) }
    let program = try CostsProgram(frequency: frequency)
    for sentence in program.missing { complain("missing: \(sentence)") }

    let exists = access(directory, F_OK) == 0
    if !exists { try BPFFileSystem.createDirectory(path) }
    // Held until this process ends, also if it is killed.
    try lock(path)
    if exists {
      guard replace else {
        throw Failure(
          "the directory \(directory) exists, and no loader uses it; to remove the pins of one that was "
            + "killed, use --replace"
        )
      }
      try removePins(in: path)
    }
    defer { remove(path) }
    try program.pin(in: path)
    if let group {
      for pin in [path] + CostsProgram.pins(in: path) {
        let mode: mode_t =
          switch pin {
          // Members of the group enter it and do not open it, so they cannot acquire its lock.
          case path: 0o710
          case _ where CostsProgram.readOnlyPins(in: path).contains(pin): 0o640
          default: 0o660
          }
        guard chown(pin.string, uid_t.max, group) == 0, chmod(pin.string, mode) == 0
        else {
          let error = Errno(rawValue: errno)
          let advice =
            error == .notPermitted ? "; this needs CAP_CHOWN, or a group of the loader's user" : ""
          throw Failure("cannot give \(pin) to the group \(group): \(error)\(advice)")
        }
      }
    }
    print("Pinned in \(directory)")
    fflush(nil)
    while !wait(for: signals, seconds: 1) { try program.updateState() }
    program.detach()
  }

  private func blockSignals() -> sigset_t {
    // The reader of the messages may have ended.
    signal(SIGPIPE, SIG_IGN)
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGTERM)
    sigaddset(&signals, SIGINT)
    var action = sigaction()
    sigaction(SIGHUP, nil, &action)
    // nohup ignores it.
    let ignored = unsafeBitCast(action.__sigaction_handler.sa_handler, to: Int.self) == 1
    if !ignored { sigaddset(&signals, SIGHUP) }
    pthread_sigmask(SIG_BLOCK, &signals, nil)
    return signals
  }

  /// Returns whether there was a signal.
  private func wait(for signals: sigset_t, seconds: Int) -> Bool {
    var signals = signals
    var timeout = timespec(tv_sec: seconds, tv_nsec: 0)
    return sigtimedwait(&signals, nil, &timeout) >= 0
  }

  private func number(of group: String) throws -> gid_t {
    if let number = gid_t(group) { return number }
    guard let entry = getgrnam(group) else { throw Failure("there is no group '\(group)'") }
    return entry.pointee.gr_gid
  }

  private func lock(_ path: FilePath) throws {
    let descriptor: FileDescriptor
    do {
      descriptor = try FileDescriptor.open(
        path,
        .readOnly,
        options: [.directory, .noFollow, .closeOnExec]
      )
    } catch let error as Errno {
      let advice =
        error == .notDirectory || error == .tooManySymbolicLinkLevels
        ? "it is a symbolic link or a file" : "the loader's user has to own it"
      throw Failure("cannot open the directory \(path): \(error); \(advice)")
    }
    guard flock(descriptor.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      throw Failure(
        errno == EWOULDBLOCK
          ? "another loader uses the directory \(path); end it first, or name another with --directory"
          : "cannot lock the directory \(path): \(Errno(rawValue: errno))"
      )
    }
    var (locked, found) = (stat(), stat())
    guard fstat(descriptor.rawValue, &locked) == 0, lstat(path.string, &found) == 0,
      (locked.st_dev, locked.st_ino) == (found.st_dev, found.st_ino)
    else { throw Failure("another loader has just removed the directory \(path); start again") }
  }

  /// Removes the pins of another loader.
  private func removePins(in directory: FilePath) throws {
    let pins = CostsProgram.pins(in: directory).filter { access($0.string, F_OK) == 0 }
    // Such as /sys/fs/bpf, whose mode would be changed.
    guard
      try !pins.isEmpty
        || FileManager.default.contentsOfDirectory(atPath: directory.string).isEmpty
    else {
      throw Failure(
        "the directory \(directory) has files that no loader has pinned; remove them, or name another "
          + "directory with --directory"
      )
    }
    for pin in pins { unlink(pin.string) }
  }

  private func remove(_ directory: FilePath) {
    for pin in CostsProgram.pins(in: directory) { unlink(pin.string) }
    rmdir(directory.string)
  }

  private func complain(_ text: String) {
    _ = try? FileDescriptor.standardError.writeAll("request-costs-loader: \(text)\n".utf8)
  }
}

/// An error as a sentence.
struct Failure: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}
