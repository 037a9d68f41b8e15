// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Foundation
import LibBPF
import MmapStorageBroker
import SystemPackage
import TestSupport
import Testing

/// The socket of a broker that was killed, and other files at its path.
@Suite struct BrokerSocketTests {
  let directory = FilePath("/tmp/mmapstorage-sockets-\(UUID().uuidString)")
  var path: FilePath { directory.appending("broker") }

  init() throws {
    try #require(mkdir(directory.string, 0o755) == 0)
  }

  /// Creates a socket without a listener.
  private func leaveSocket() throws { try BrokerServer.listen(at: path).close() }

  private func inode() -> UInt64? {
    var status = stat()
    return lstat(path.string, &status) == 0 ? UInt64(status.st_ino) : nil
  }

  /// Expects that listening fails and changes nothing.
  private func expectRefusal(_ advice: String, at line: Int = #line) throws {
    let before = try #require(inode())
    let error = #expect(throws: BPFError.self) { try BrokerServer.listen(at: path) }
    #expect(error?.advice.contains(advice) == true, "line \(line): \(String(describing: error))")
    #expect(inode() == before, "line \(line)")
  }

  private func remove() { try? FileManager.default.removeItem(atPath: directory.string) }

  @Test func aSocketAtWhichNobodyListensIsReplaced() throws {
    defer { remove() }
    try leaveSocket()
    var lines: [String] = []
    let socket = try BrokerServer.listen(at: path, log: { lines.append($0) })
    defer { try? socket.close() }
    #expect(lines.count == 1 && lines.first?.contains(path.string) == true, "\(lines)")
    _ = try BrokerClient(connectingTo: path)
  }

  @Test func ofManyBrokersThatStartOneReplacesIt() throws {
    defer { remove() }
    for _ in 0..<100 {
      try leaveSocket()
      let sockets = Box<[FileDescriptor]>([])
      let threads = try (0..<8).map { _ in
        try TestThread {
          do throws(BPFError) {
            let socket = try BrokerServer.listen(at: path)
            sockets.change { $0.append(socket) }
          } catch {
            guard error.advice.contains("another broker listens there") else { throw error }
          }
        }
      }
      for thread in threads { try thread.join() }
      #expect(sockets.get().count == 1)
      _ = try BrokerClient(connectingTo: path)
      for socket in sockets.get() { try socket.close() }
      #expect(unlink(path.string) == 0)
    }
  }

  @Test func onlyASocketThatListensIsServed() throws {
    let types = [SOCK_SEQPACKET, SOCK_STREAM].map { CInt($0.rawValue) }
    let stream = socket(AF_UNIX, types[1], 0)
    let idle = socket(AF_UNIX, types[0], 0)
    let network = socket(AF_INET, types[1], 0)
    let file = open("/dev/null", O_RDWR)
    var connection: [CInt] = [-1, -1]
    try #require(socketpair(AF_UNIX, types[0], 0, &connection) == 0)
    let descriptors = [stream, idle, network, file] + connection
    defer { for descriptor in descriptors { close(descriptor) } }
    try #require(listen(network, 1) == 0)
    for descriptor in descriptors {
      let error = #expect(throws: BPFError.self) {
        try BrokerServer(
          socket: FileDescriptor(rawValue: descriptor),
          offers: [],
          policy: BrokerPolicy()
        )
      }
      #expect(error?.kind == .invalidArgument, "\(String(describing: error))")
    }
  }

  @Test func nothingElseIsRemoved() throws {
    defer { remove() }
    let living = try BrokerServer.listen(at: path)
    try expectRefusal("another broker listens there")
    // No connections are accepted, so the queue is full.
    var clients: [BrokerClient] = []
    while clients.count < 1000,
      let client = try? BrokerClient(connectingTo: path, timeout: .milliseconds(1))
    {
      clients.append(client)
    }
    #expect((1..<1000).contains(clients.count))
    try expectRefusal("another broker listens there")
    try living.close()
    #expect(rename(path.string, path.string + "-other") == 0)

    #expect(symlink(path.string + "-other", path.string) == 0)
    try expectRefusal("not a socket")
    #expect(unlink(path.string) == 0)
    #expect(FileManager.default.createFile(atPath: path.string, contents: Data("x".utf8)))
    try expectRefusal("not a socket")
    #expect(unlink(path.string) == 0)
    #expect(mkdir(path.string, 0o755) == 0)
    try expectRefusal("not a socket")
  }

  @Test(.enabled(if: geteuid() == 0, "only root can give a socket away"))
  func theSocketOfAnotherUserIsNotRemoved() throws {
    defer { remove() }
    try leaveSocket()
    #expect(chown(path.string, 65534, 65534) == 0)
    try expectRefusal("belongs to user 65534")
  }

  @Test func nothingIsRemovedWithoutTheLock() throws {
    defer { remove() }
    try leaveSocket()
    let lock = try #require(lockDirectory(directory))
    try expectRefusal("no process listens on it; remove the socket")
    releaseLock(lock)
    try BrokerServer.listen(at: path).close()
  }

  @Test func aPathMayHave107Bytes() throws {
    defer { remove() }
    let longest = FilePath(
      directory.string + "/" + String(repeating: "x", count: 106 - directory.length)
    )
    let socket = try BrokerServer.listen(at: longest)
    defer { try? socket.close() }
    _ = try BrokerClient(connectingTo: longest)
    let tooLong = FilePath(longest.string + "x")
    for attempt in [
      { _ = try BrokerServer.listen(at: tooLong) },
      { _ = try BrokerClient(connectingTo: tooLong) },
    ] {
      let error = #expect(throws: BPFError.self) { try attempt() }
      #expect(error?.errno == .fileNameTooLong)
      #expect(error?.advice == "the path of a socket has at most 107 bytes")
    }
  }

  /// Otherwise the next broker would find a socket at which nobody listens.
  @Test(arguments: [false, true])
  func aSocketThatCannotListenIsRemoved(hasMode: Bool) async {
    await #expect(processExitsWith: .success) { [hasMode = hasMode as Bool] in
      let path = FilePath("/tmp/mmapstorage-removed-\(UUID().uuidString)")
      let filter = hasMode ? test_forbid_call(CInt(SYS_listen), EBUSY) : test_forbid_chmod(EBUSY)
      try #require(filter == 0)
      let error = #expect(throws: BPFError.self) { try BrokerServer.listen(at: path) }
      #expect(error?.errno == .resourceBusy, "\(String(describing: error))")
      #expect(access(path.string, F_OK) == -1 && errno == ENOENT)
    }
  }

  @Test func signalsDoNotExtendTheWait() async {
    await #expect(processExitsWith: .success) {
      let path = FilePath("/tmp/mmapstorage-silent-\(UUID().uuidString)")
      let socket = try BrokerServer.listen(at: path)
      defer { unlink(path.string) }
      signal(SIGALRM) { _ in }
      let thread = Box<pthread_t?>(nil)
      let error = Box<BPFError?>(nil)
      let waiting = try TestThread {
        var alarm = sigset_t()
        sigemptyset(&alarm)
        sigaddset(&alarm, SIGALRM)
        pthread_sigmask(SIG_UNBLOCK, &alarm, nil)
        thread.set(pthread_self())
        do throws(BPFError) {
          _ = try BrokerClient(connectingTo: path, timeout: .milliseconds(100)).attachedPrograms()
        } catch let thrown {
          error.set(thrown)
        }
      }
      // More often than the timeout, and for ten seconds at most.
      for _ in 0..<1000 where error.get() == nil {
        if let thread = thread.get() { pthread_kill(thread, SIGALRM) }
        usleep(10_000)
      }
      #expect(
        error.get()?.errno == .resourceTemporarilyUnavailable,
        "\(String(describing: error.get()))"
      )
      try waiting.join()
      try socket.close()
    }
  }

  @Test func aTimeoutOfZeroDoesNotWait() async {
    await #expect(processExitsWith: .success) {
      alarm(10)
      let path = FilePath("/tmp/mmapstorage-silent-\(UUID().uuidString)")
      let socket = try BrokerServer.listen(at: path)
      defer { unlink(path.string) }
      for timeout in [Duration.zero, .seconds(-1)] {
        let client = try BrokerClient(connectingTo: path, timeout: timeout)
        let error = #expect(throws: BPFError.self) { try client.attachedPrograms() }
        #expect(error?.errno == .resourceTemporarilyUnavailable, "\(String(describing: error))")
      }
      _ = try BrokerClient(connectingTo: path, timeout: .seconds(Int64.max))
      try socket.close()
    }
  }

  /// A connection whose other end sends nothing more has ended, also while it still receives.
  @Test func aConnectionThatWasShutDownHasEnded() throws {
    defer { remove() }
    let socket = try BrokerServer.listen(at: path)
    defer { try? socket.close() }
    let client = try BrokerClient(connectingTo: path)
    let connection = accept(socket.rawValue, nil, nil)
    defer { close(connection) }
    #expect(client.isConnected)
    #expect(shutdown(connection, CInt(SHUT_WR)) == 0)
    #expect(!client.isConnected)
  }
}
