// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import CTestSupport
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage
import TestSupport
import Testing

/// A broker in this process, and clients without rights.
@Suite(.liveKernel, .threadPidfds) struct BrokerTests {
  @Test(arguments: LiveKernel.backends)
  func aProcessWithoutRightsUsesAMap(_ backend: BackendKind) async throws {
    let program = try EchoProgram(allowing: [backend])
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    await #expect(processExitsWith: .success) {
      [path = broker.path as String, name = backend.rawValue as String] in
      #expect(test_drop_rights() == 0)
      let client = try BrokerClient(connectingTo: FilePath(path))
      let storage = try TaskLocalStorage<Echo>(from: client, "echoes")
      #expect(storage.backend.kind.rawValue == name)
      try storage.withCurrent { $0.said = 3 }
      try storage.withCurrent { #expect($0.said == 3) }
      try TestThread {
        try storage.withCurrent { $0.said = 4 }
        #expect(try storage.withCurrent { $0.said } == 4)
      }.join()
      #expect(try storage.verifyMapping() == .own)
      if name == "lookup" {
        #expect(storage.backend.reason.contains("program"), "\(storage.backend)")
      }
      #expect(try client.attachedPrograms() == ["repeat"])
      #expect(client.isConnected)

      struct Wrong: MapValue { var calls: UInt32 }
      let error = #expect(throws: BPFError.self) {
        try TaskLocalStorage<Wrong>(from: client, "echoes")
      }
      #expect(error?.kind == .layoutMismatch)
      let unknown = #expect(throws: BPFError.self) { try client.open("nothing") }
      #expect(unknown?.kind == .notFound && unknown?.advice == "it offers: echoes")
      let load = #expect(throws: BPFError.self) { try BPFObject(.echo).load() }
      #expect(load?.kind == .permissionDenied)
    }
  }

  @Test(.userPages) func aMapThatWasOpenedTwiceIsVerified() async throws {
    let program = try EchoProgram(allowing: [.userPage])
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    await #expect(processExitsWith: .success) { [path = broker.path as String] in
      #expect(test_drop_rights() == 0)
      let client = try BrokerClient(connectingTo: FilePath(path))
      let opened = try client.open("echoes")
      _ = try client.open("echoes")
      let storage = try TaskLocalStorage<Echo>(map: opened.map, layout: opened.layout)
      try storage.withCurrent { $0.said = 3 }
      #expect(try storage.verifyMapping() == .own)
      withExtendedLifetime(opened) {}
    }
  }

  @Test func aNameMayHave255Bytes() throws {
    let program = try EchoProgram()
    let longest = String(repeating: "x", count: 255)
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes", as: longest)])
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    let attempts: [(String) throws -> Void] = [
      { _ = try client.open($0) },
      { _ = try BrokerOffer(program.object, map: "echoes", as: $0) },
    ]
    for attempt in attempts {
      for count in [256, 300, 600] {
        let error = #expect(throws: BPFError.self) {
          try attempt(String(repeating: "x", count: count))
        }
        #expect(error?.advice == "a name has at most 255 bytes", "\(String(describing: error))")
      }
    }
    #expect(client.isConnected)
    _ = try client.open(longest)
  }

  @Test func onlyUsersThatThePolicyAllowsAreServed() async throws {
    let program = try EchoProgram()
    let offers = [try BrokerOffer(program.object, map: "echoes")]
    let other = try RunningBroker(offers, policy: BrokerPolicy(users: [1], groups: [1]))
    await #expect(processExitsWith: .success) { [path = other.path as String] in
      #expect(test_drop_rights() == 0)
      let client = try BrokerClient(connectingTo: FilePath(path))
      let error = #expect(throws: BPFError.self) { try client.open("echoes") }
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice == "the broker's policy does not serve user 65534")
    }
    #expect(other.lines.get().contains { $0.contains("user 65534") })
    let group = try RunningBroker(offers, policy: BrokerPolicy(groups: [65534]))
    await #expect(processExitsWith: .success) { [path = group.path as String] in
      #expect(test_drop_rights() == 0)
      _ = try BrokerClient(connectingTo: FilePath(path)).open("echoes")
    }
    let supplementary = try RunningBroker(offers, policy: BrokerPolicy(groups: [65533]))
    await #expect(processExitsWith: .success) { [path = supplementary.path as String] in
      #expect(setgroups(1, [65533]) == 0 && test_drop_rights() == 0)
      _ = try BrokerClient(connectingTo: FilePath(path)).open("echoes")
    }
    // Root has no exemption.
    let client = try BrokerClient(connectingTo: FilePath(group.path))
    #expect(throws: BPFError.self) { try client.open("echoes") }
  }

  @Test func aSocketThatOnlyItsOwnerMayUse() async throws {
    let program = try EchoProgram()
    let broker = try RunningBroker(
      [BrokerOffer(program.object, map: "echoes")],
      permissions: .ownerReadWrite
    )
    await #expect(processExitsWith: .success) { [path = broker.path as String] in
      #expect(test_drop_rights() == 0)
      let error = #expect(throws: BPFError.self) {
        try BrokerClient(connectingTo: FilePath(path))
      }
      #expect(error?.kind == .permissionDenied)
    }
  }

  @Test func clientsThatSendGarbageHangOrDie() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let before = try descriptors().count
      var hanging: [CInt] = []
      for _ in 0..<20 { hanging.append(connectSocket(to: FilePath(broker.path), timeout: 1000)) }
      var generator = SplitMix(state: 7)
      for round in 0..<300 {
        let descriptor = connectSocket(to: FilePath(broker.path), timeout: 1000)
        #expect(descriptor >= 0)
        var bytes = [UInt8](repeating: 0, count: [0, 1, 5, 6, 64, 512, 513, 9000][round % 8])
        for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: generator.next()) }
        if round % 3 == 0, bytes.count >= 8 {
          bytes.replaceSubrange(0..<6, with: [0x4D, 0x4D, 0x53, 0x42, 1, 1])
        }
        // Descriptors that were not requested.
        _ = mms_send_message(descriptor, bytes, bytes.count, [descriptor, 0], 2, 1)
        if round % 2 == 0 {
          var reply = [UInt8](repeating: 0, count: 8192)
          var count = 0
          _ = mms_receive_message(descriptor, &reply, reply.count, nil, &count, 1)
        }
        close(descriptor)  // half of them before the reply is received
      }
      // A client that asks and never reads does not stop the others.
      let deaf = connectSocket(to: FilePath(broker.path), timeout: 100)
      let request: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 1, 6, 0] + Array("echoes".utf8)
      for _ in 0..<2000 {
        if mms_send_message(deaf, request, request.count, nil, 0, 0) < 0 { break }
      }
      let client = try BrokerClient(connectingTo: FilePath(broker.path))
      #expect(try client.open("echoes").map.info.id == program.object.map("echoes").info.id)
      for descriptor in hanging + [deaf] { close(descriptor) }
      let last = try BrokerClient(connectingTo: FilePath(broker.path))
      #expect(try last.attachedPrograms() == ["repeat"])
      // The broker closes its descriptors of the others before it answers the last one's second
      // request.
      for _ in 0..<10 { _ = try last.attachedPrograms() }
      #expect(try descriptors().count <= before + 4)
    }
  }

  @Test func whyASocketCannotBeCreated() throws {
    func expect(_ path: String, _ advice: String, at line: Int = #line) {
      let error = #expect(throws: BPFError.self) { try BrokerServer.listen(at: FilePath(path)) }
      #expect(error?.advice.contains(advice) == true, "line \(line): \(String(describing: error))")
    }
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    expect(broker.path, "another broker listens there")
    #expect(
      try BrokerClient(connectingTo: FilePath(broker.path)).attachedPrograms() == ["repeat"]
    )
    expect("/etc/passwd", "not a socket")
    expect("", "the path is empty")
    expect("/tmp/" + String(repeating: "x", count: 103), "at most 107 bytes")
    expect("/tmp/no-such-directory/socket", "the directory has to exist")
    expect("/sys/socket", "the directory has to exist")  // EPERM
  }

  @Test func oneUserDoesNotTakeAllConnections() throws {
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    let clients = try (0..<40).map { _ in try BrokerClient(connectingTo: FilePath(broker.path)) }
    var served = 0
    for client in clients {
      do throws(BPFError) {
        _ = try client.attachedPrograms()
        served += 1
      } catch {
        #expect(error.kind == .permissionDenied && error.advice == "too many connections")
      }
    }
    #expect(served == 32)
  }

  /// Users that are not served do not take the connections of others.
  @Test(arguments: [(true, 512), (false, 128)])
  func allUsersTogetherHaveALimit(_ isServed: Bool, _ limit: Int) async throws {
    let program = try EchoProgram()
    let broker = try RunningBroker(
      [BrokerOffer(program.object, map: "echoes")],
      policy: BrokerPolicy(users: isServed ? Set(1...17) : [99]),
      patience: 600_000
    )
    await #expect(processExitsWith: .success) {
      [path = broker.path as String, isServed = isServed as Bool, limit = limit as Int] in
      alarm(60)
      var clients: [BrokerClient] = []
      // The broker gets the effective user at the time of connect(2) from the kernel.
      for user in 1...17 {
        try #require(seteuid(uid_t(user)) == 0)
        for _ in 0..<32 { clients.append(try BrokerClient(connectingTo: FilePath(path))) }
        try #require(seteuid(0) == 0)
      }
      // The broker closes those above the limit before the request, and those below it after it.
      while clients.dropFirst(limit).contains(where: \.isConnected) { sched_yield() }
      let reasons = clients.map { client in
        do throws(BPFError) {
          return try client.attachedPrograms().description
        } catch {
          return error.advice
        }
      }
      #expect(reasons.prefix(limit).allSatisfy { $0.contains(isServed ? "repeat" : "policy") })
      #expect(reasons.dropFirst(limit).allSatisfy { $0 == "too many connections" })
      // A user that is served.
      try #require(seteuid(99) == 0)
      let other = Result { try BrokerClient(connectingTo: FilePath(path)).attachedPrograms() }
      try #require(seteuid(0) == 0)
      #expect(isServed || (try? other.get()) == ["repeat"])
    }
  }

  @Test func onlyAClientThatSendsNothingIsDisconnected() throws {
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")], patience: 1000)
    let silent = connectSocket(to: FilePath(broker.path), timeout: 60_000)
    defer { close(silent) }
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    #expect(try client.attachedPrograms() == ["repeat"])
    // Returns when the broker has closed the connection.
    var byte: UInt8 = 0
    #expect(recv(silent, &byte, 1, 0) == 0)
    #expect(try client.attachedPrograms() == ["repeat"])
  }

  @Test func theEndOfTheBrokerIsNoticed() throws {
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    let storage = try TaskLocalStorage<Echo>(from: client, "echoes")
    #expect(try client.attachedPrograms() == ["repeat"])
    program.object.detach()
    #expect(try client.attachedPrograms() == [])
    #expect(client.isConnected)
    broker.stop()
    #expect(!client.isConnected)
    let error = #expect(throws: BPFError.self) { try client.attachedPrograms() }
    #expect(error?.kind == .wrongState && error?.advice.contains("has ended") == true)
    let next = #expect(throws: BPFError.self) { try client.attachedPrograms() }
    #expect(next?.description == error?.description)
    try storage.withCurrent { $0.said = 1 }  // the map is still open
    let again = #expect(throws: BPFError.self) {
      try BrokerClient(connectingTo: FilePath(broker.path))
    }
    #expect(again?.advice.contains("start it") == true)
  }

  @Test func brokersWithFalseAnswers() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let map = try program.object.map("echoes")
      let other = try program.object.map("not_task_storage")
      let prefix: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1]
      let grant: (UInt32, [UInt8]) -> [UInt8] = { type, btf in
        var bytes = prefix + [10, 6, 0] + Array("echoes".utf8)
        withUnsafeBytes(of: type) { bytes += $0 }
        bytes += [0, 0, 0, 0, 0, 0]
        withUnsafeBytes(of: UInt32(btf.count)) { bytes += $0 }
        return bytes + btf
      }
      let type = try map.info.btfValueTypeID
      let btf = try #require(program.object.btf)
      let size = try map.info.valueSize
      let otherType = try #require(
        (1..<btf.typeCount).first {
          $0 != type && (try? btf.valueLayout(ofType: $0, size: size)) != nil
        }
      )
      let replies: [(String, [UInt8], [BPFMap])] = [
        ("nothing", prefix, []),
        ("no descriptor", grant(type, []), []),
        ("no type information", grant(type, []), [map]),
        ("other type information", grant(type, [UInt8](repeating: 0xFF, count: 500)), [map]),
        ("another type", grant(otherType, btf.rawBytes), [map]),
        ("too many descriptors", grant(type, []), [map, map]),
        ("another type of map", grant(try other.info.btfValueTypeID, btf.rawBytes), [other]),
        ("a length that is too large", Array(grant(type, [1, 2, 3]).dropLast()), [map]),
        ("programs", prefix + [11, 255, 255], []),
        ("descriptors that were not asked for", prefix + [11, 0, 0], [map, map]),
        ("descriptors without bytes", [], [map, map]),
      ]
      let before = try descriptors().count
      for (what, reply, maps) in replies {
        let path = "/tmp/mmapstorage-liar-\(UUID().uuidString)"
        let listener = listenOnSocket(at: FilePath(path), .ownerReadWrite)
        defer {
          close(listener)
          unlink(path)
        }
        let client = try BrokerClient(connectingTo: FilePath(path), timeout: .seconds(2))
        let connection = mms_accept(listener)
        let sent = maps.map { try? $0.duplicateDescriptor().rawValue }.compactMap(\.self)
        #expect(
          mms_send_message(connection, reply, reply.count, sent, sent.count, 1) == reply.count
        )
        for descriptor in sent { close(descriptor) }
        if what.hasPrefix("descriptors that") {
          #expect(try client.attachedPrograms() == [])
        } else {
          let error = #expect(throws: BPFError.self, "\(what)") { try client.open("echoes") }
          #expect(
            [.invalidObject, .wrongType, .wrongState].contains(error?.kind),
            "\(what): \(String(describing: error))"
          )
          #expect(
            !what.hasPrefix("another type")
              || error?.advice.contains("is not that of the map") == true,
            "\(what): \(String(describing: error))"
          )
        }
        close(connection)
      }
      #expect(try descriptors().count == before)
      // A broker that does not reply.
      let path = "/tmp/mmapstorage-liar-\(UUID().uuidString)"
      let listener = listenOnSocket(at: FilePath(path), .ownerReadWrite)
      defer {
        close(listener)
        unlink(path)
      }
      let client = try BrokerClient(connectingTo: FilePath(path), timeout: .milliseconds(50))
      let error = #expect(throws: BPFError.self) { try client.open("echoes") }
      #expect(error?.advice.contains("did not reply in time") == true)
    }
  }

  @Test func aLateReplyIsNotTakenForTheNextOne() throws {
    let path = "/tmp/mmapstorage-late-\(UUID().uuidString)"
    let listener = listenOnSocket(at: FilePath(path), .ownerReadWrite)
    defer {
      close(listener)
      unlink(path)
    }
    let client = try BrokerClient(connectingTo: FilePath(path), timeout: .milliseconds(50))
    let connection = mms_accept(listener)
    let late = #expect(throws: BPFError.self) { try client.attachedPrograms() }
    #expect(late?.errno == .resourceTemporarilyUnavailable)
    let later = #expect(throws: BPFError.self) { try client.attachedPrograms() }
    #expect(later?.errno == .resourceTemporarilyUnavailable)
    #expect(client.isConnected)
    func answer(_ name: String, descriptors: [CInt] = []) {
      let reply = [0x4D, 0x4D, 0x53, 0x42, 1, 11, 1, 0, 3, 0] + Array(name.utf8)
      #expect(
        mms_send_message(connection, reply, reply.count, descriptors, descriptors.count, 1)
          == reply.count
      )
    }
    answer("old", descriptors: [0])
    answer("new")
    #expect(try client.attachedPrograms() == ["new"])
    // One request for each reply.
    var request = [UInt8](repeating: 0, count: 100)
    for _ in 0..<2 { #expect(recv(connection, &request, 100, CInt(MSG_DONTWAIT)) > 0) }
    #expect(recv(connection, &request, 100, CInt(MSG_DONTWAIT)) < 0)
    close(connection)
    #expect(!client.isConnected)
  }

  @Test func clientsCannotFillTheLog() throws {
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    for _ in 0..<1_000 {
      let connection = connectSocket(to: FilePath(broker.path), timeout: 2000)
      #expect(mms_send_message(connection, [0], 1, nil, 0, 1) == 1)
      // Returns when the broker has rejected it.
      var byte: UInt8 = 0
      #expect(recv(connection, &byte, 1, 0) == 1)
      close(connection)
    }
    let lines = broker.lines.get()
    #expect(lines.count < 1_000)
    #expect(lines.first?.contains("invalid request") == true)
  }

  @Test func aClientThatDoesNotReadIsDisconnected() throws {
    let program = try EchoProgram()
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    let connection = connectSocket(to: FilePath(broker.path), timeout: 2000)
    defer { close(connection) }
    let request: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 1, 6, 0] + Array("echoes".utf8)
    for _ in 0..<2 {
      #expect(mms_send_message(connection, request, request.count, nil, 0, 1) == request.count)
    }
    var end = pollfd(fd: connection, events: Int16(POLLHUP), revents: 0)
    #expect(poll(&end, 1, 10_000) == 1)
    #expect(broker.lines.get().last?.contains("before it read the last reply") == true)
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    for _ in 0..<1_000 { _ = try client.open("echoes") }
  }

  @Test func aClientWithoutFreeDescriptorsStaysConnected() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let client = try BrokerClient(connectingTo: FilePath(broker.path))
      _ = try client.open("echoes")
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      var few = rlimit(rlim_cur: 4, rlim_max: limit.rlim_max)
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &few)
      let error = #expect(throws: BPFError.self) { try client.open("echoes") }
      setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      #expect(error?.errno == .tooManyOpenFiles)
      #expect(client.isConnected)
      _ = try client.open("echoes")
    }
  }

  @Test func aChildOfForkHasToConnectAnew() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let client = try BrokerClient(connectingTo: FilePath(broker.path))
      let child = test_fork()
      if child == 0 {
        alarm(30)
        do throws(BPFError) {
          _ = try client.open("echoes")
        } catch {
          _exit(error.kind == .wrongState && !client.isConnected ? 0 : 2)
        }
        _exit(1)
      }
      var status: Int32 = 0
      waitpid(child, &status, 0)
      #expect(status == 0)
      _ = try client.open("echoes")
    }
  }

  @Test func aReadOnlyOffer() throws {
    let program = try EchoProgram(allowing: [.lookup])
    let broker = try RunningBroker([
      BrokerOffer(program.object, map: "echoes", as: "look", isReadOnly: true)
    ])
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    let opened = try client.open("look")
    #expect(try opened.map.info.isWritable == false)
    try program.storage().withCurrent { $0.said = 9 }
    let storage = try TaskLocalStorage<Echo>(from: client, "look")
    #expect(try storage.value(of: .callingThread)?.said == 9)
    #expect(throws: BPFError.self) { try storage.setValue(Echo(), of: .callingThread) }
  }
}

/// A broker on a separate thread.
final class RunningBroker {
  let path: String
  let lines = Box<[String]>([])
  private var server: BrokerServer?
  private var thread: TestThread?

  init(
    _ offers: [BrokerOffer],
    policy: BrokerPolicy = BrokerPolicy(users: [0, 65534]),
    permissions: FilePermissions = [.ownerReadWrite, .groupReadWrite, .otherReadWrite],
    patience: Int = 10_000
  ) throws {
    path = "/tmp/mmapstorage-broker-\(UUID().uuidString)"
    let socket = try BrokerServer.listen(at: FilePath(path), permissions: permissions)
    defer { try? socket.close() }
    let lines = lines
    let server = try BrokerServer(
      socket: socket,
      offers: offers,
      policy: policy,
      patience: patience,
      log: { line in lines.change { $0.append(line) } }
    )
    self.server = server
    thread = try TestThread { try server.run() }
  }

  func stop() {
    guard let running = server else { return }
    running.stop()
    try? thread?.join()
    thread = nil
    server = nil
  }

  deinit {
    stop()
    unlink(path)
  }
}

private struct SplitMix: RandomNumberGenerator {
  var state: UInt64

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var z = state
    z = (z ^ (z >> 30)) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ (z >> 27)) &* 0x94D0_49BB_1331_11EB
    return z ^ (z >> 31)
  }
}
