// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import Logging
import MmapStorage
import RequestCosts
import RequestCostsDemo
import SystemPackage
import Testing

/// Several loaders and one directory.
@Suite(.liveKernel) struct LoaderTests {
  @Test func aLoaderThatRunsKeepsItsPins() async throws {
    try await withBPFFileSystem { directory in
      let first = try RunningLoader(directory)
      #expect(try first.readLine().hasPrefix("Pinned in"))
      let pins = try identities(directory)
      for arguments in [[], ["--replace"]] {
        let second = try RunningLoader(directory, arguments)
        let line = try second.readLine()
        #expect(line.contains("another loader uses the directory"))
        #expect(second.end(line.hasPrefix("Pinned") ? SIGTERM : nil) == 1)
        #expect(try identities(directory) == pins)
      }
      #expect(first.end(SIGTERM) == 0)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test func pinsOfALoaderThatWasKilledAreReplacedOnRequest() async throws {
    try await withBPFFileSystem { directory in
      let first = try RunningLoader(directory)
      #expect(try first.readLine().hasPrefix("Pinned in"))
      let pins = try identities(directory)
      _ = first.end(SIGKILL)
      let second = try RunningLoader(directory)
      #expect(try second.readLine().contains("use --replace"))
      #expect(second.end() == 1)
      #expect(try identities(directory) == pins)
      let third = try RunningLoader(directory, ["--replace", "--group", "65534"])
      #expect(try third.readLine().hasPrefix("Pinned in"))
      #expect(try identities(directory).intersection(pins) == [])
      var info = stat()
      try #require(stat(directory.string, &info) == 0)
      // Members cannot open it, and therefore cannot lock it.
      #expect(info.st_mode & 0o7777 == 0o710 && info.st_gid == 65534)
      #expect(third.end(SIGTERM) == 0)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test func aServerThatStartsBeforeItsLoader() async throws {
    try await withBPFFileSystem { directory in
      let log = TestLog()
      let stopped = await RequestCosts.start(logger: log.logger, pinnedIn: directory)
      stopped.stop()
      try await TestServer.run(nil, pinnedIn: directory, logger: log.logger) { server in
        try await server.load(["/calls/5"], requests: 8)
        let before = server.costs.report()
        #expect(before.obstacle?.contains("when request-costs-loader runs") == true)
        #expect(try server.route("GET /calls/{count}").costs.calls == [:])

        let loader = try RunningLoader(directory)
        #expect(try loader.readLine().hasPrefix("Pinned in"))
        try await wait("the pins are used") { server.costs.report().source.contains("pinned") }
        try await server.load(["/calls/5"], requests: 8)
        let report = server.costs.report()
        #expect(report.obstacle == nil)
        #expect(report.missing.contains { $0.contains("no pins of a running loader") })
        #expect(try server.route("GET /calls/{count}").requests == 16)
        #expect(try server.route("GET /calls/{count}").costs.calls["process"] ?? 0 >= 40)
        #expect(loader.end(SIGTERM) == 0)
      }
      #expect(log.all.filter { $0.contains("Serving without kernel costs") }.count == 2)
      #expect(stopped.report().source == "none")
    }
  }

  /// The first loader has ended when the server starts. The server notices the end of the second one before the
  /// third one starts.
  @Test func theNextLoaderCounts() async throws {
    try await wait("the machine has run for a while") { monotonicTime() > 12_000_000_000 }
    try await withBPFFileSystem { directory in
      let first = try RunningLoader(directory)
      #expect(try first.readLine().hasPrefix("Pinned in"))
      _ = first.end(SIGKILL)
      let log = TestLog()
      try await TestServer.run(nil, pinnedIn: directory, logger: log.logger) { server in
        func calls() async throws -> UInt64 {
          try await server.load(["/calls/5"], requests: 8)
          return try server.route("GET /calls/{count}").costs.calls["process"] ?? 0
        }
        func missing(_ text: String) -> String? {
          server.costs.report().missing.first { $0.contains(text) }
        }
        #expect(try await calls() == 0)
        var counted: UInt64 = 0
        var outside: UInt64 = 0
        for isNoticed in [false, true, false] {
          if isNoticed {
            try abandon(directory)
            try await wait("the end is logged") {
              log.all.contains { $0.contains("the loader has not responded") }
            }
            #expect(missing("the loader has not responded") != nil)
            #expect(try await calls() == counted)
          }
          let next = try RunningLoader(directory, ["--replace"])
          #expect(try next.readLine().hasPrefix("Pinned in"))
          try await wait("requests are counted") { try await calls() > counted }
          Work.call(times: 100)
          counted = try await calls()
          #expect(counted >= 40)
          let report = server.costs.report()
          #expect(report.outside?.calls["process"] ?? 0 >= outside + 100)
          outside = report.outside?.calls["process"] ?? 0
          #expect(missing("the loader has not responded") == nil)
          #expect(report.missedRuns != nil && report.unreadable != nil)
          _ = next.end(SIGKILL)
        }
        let gap = try #require(missing("no pins of a running loader"))
        #expect(Int(gap.split(separator: " ")[4]) ?? 0 >= 11, "\(gap)")
      }
    }
  }

  @Test func aDirectoryThatCannotHavePins() async throws {
    func expectFailure(_ directory: FilePath, _ text: String) throws {
      let loader = try RunningLoader(directory, ["--replace", "--group", "65534"])
      let line = try loader.readLine()
      #expect(line.contains(text), "\(line)")
      #expect(loader.end(line.hasPrefix("Pinned") ? SIGTERM : nil) == 1)
    }
    try expectFailure("/proc/sys/request-costs", "cannot create a directory for pins")
    try await withBPFFileSystem { directory in
      try #require(mkdir(directory.string, 0o755) == 0)
      let other = directory.appending("other")
      try #require(mkdir(other.string, 0o755) == 0)
      try expectFailure(directory, "no loader has pinned")
      var info = stat()
      try #require(stat(directory.string, &info) == 0)
      #expect(info.st_mode & 0o7777 == 0o755 && info.st_gid == 0)
      let link = other.appending("link")
      try #require(symlink(directory.string, link.string) == 0)
      try expectFailure(link, "symbolic link")
    }
  }

  @Test func frequenciesThatCannotBeSampled() throws {
    for frequency in ["0", "-5", "100001", "4294967296"] {
      let loader = try RunningLoader("/proc/sys/request-costs", ["--frequency=\(frequency)"])
      #expect(try loader.readLine() == "Error: --frequency takes 1 to 100000")
      #expect(loader.end() == EX_USAGE)
    }
  }

  /// As when its terminal is closed.
  @Test(.timeLimit(.minutes(1))) func theTerminalIsClosed() async throws {
    try await withBPFFileSystem { directory in
      let loader = try RunningLoader(directory)
      #expect(try loader.readLine().hasPrefix("Pinned in"))
      #expect(loader.end(SIGHUP) == 0)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test(.timeLimit(.minutes(1))) func theReaderOfItsMessagesHasEnded() async throws {
    try await withBPFFileSystem { directory in
      let loader = try RunningLoader(directory)
      try loader.closeOutput()
      try await wait("it has pinned the programs") {
        CostsProgram.pins(in: directory).allSatisfy { access($0.string, F_OK) == 0 }
      }
      #expect(loader.end(SIGTERM) == 0)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  /// Makes the pins of a loader that was killed ten seconds older.
  private func abandon(_ directory: FilePath) throws {
    let loader = try BPFArrayMap<LoaderContent>(BPFMap(pinnedAt: directory.appending("loader")))
    try loader.setValue(.ofKilledLoader, at: 0)
  }

  /// The inodes of the pins.
  private func identities(_ directory: FilePath) throws -> Set<UInt64> {
    Set(
      try CostsProgram.pins(in: directory).map { pin in
        var info = stat()
        try #require(lstat(pin.string, &info) == 0, "\(pin)")
        return UInt64(info.st_ino)
      }
    )
  }
}

/// Mounts a BPF file system. `body` gets the path of a directory that does not exist on it.
func withBPFFileSystem(_ body: (FilePath) async throws -> Void) async throws {
  let root = "/tmp/request-costs-loaders.\(getpid()).\(UInt32.random(in: .min ... .max))"
  try #require(mkdir(root, 0o755) == 0)
  defer { rmdir(root) }
  try #require(mount("bpf", root, "bpf", 0, "mode=0755") == 0)
  defer { umount2(root, CInt(MNT_DETACH)) }
  try await body(FilePath(root).appending("costs"))
}

/// A process of request-costs-loader.
final class RunningLoader {
  private let process = Process()
  private let output = Pipe()

  /// Starts it, with these options of setpriv(1).
  init(_ directory: FilePath, _ arguments: [String] = [], with privileges: [String] = []) throws {
    let products = FilePath(CommandLine.arguments[0]).removingLastComponent()
    process.executableURL = URL(filePath: "/usr/bin/setpriv")
    process.arguments =
      privileges
      + [products.appending("request-costs-loader").string, "--directory", directory.string]
      + arguments
    process.standardOutput = output
    process.standardError = output
    try process.run()
  }

  deinit { if process.isRunning { kill(process.processIdentifier, SIGKILL) } }

  /// Its first message. Messages about missing features may precede it.
  func readLine() throws -> String {
    var text = ""
    while true {
      let bytes = output.fileHandleForReading.availableData
      text += String(decoding: bytes, as: UTF8.self)
      let lines = text.split(separator: "\n", omittingEmptySubsequences: false).dropLast()
      if let line = lines.first(where: { !$0.hasPrefix("request-costs-loader: missing") }) {
        return String(line)
      }
      if bytes.isEmpty { return text }
    }
  }

  /// Closes the pipe of its messages.
  func closeOutput() throws { try output.fileHandleForReading.close() }

  /// Sends a signal, and waits for the end.
  func end(_ signal: CInt? = nil) -> Int32 {
    if let signal { kill(process.processIdentifier, signal) }
    process.waitUntilExit()
    return process.terminationStatus
  }
}
