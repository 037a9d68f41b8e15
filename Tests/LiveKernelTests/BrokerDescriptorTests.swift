// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage
import TestSupport
import Testing

/// The descriptors of brokers and of their clients.
@Suite(.liveKernel) struct BrokerDescriptorTests {
  @Test func noProgramThatIsExecutedInheritsOne() async {
    await #expect(processExitsWith: .success) {
      let before = try descriptors()
      let program = try EchoProgram(allowing: [.lookup])
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let client = try BrokerClient(connectingTo: FilePath(broker.path))
      let opened = try client.open("echoes")
      // The listening socket, the broker's event, both ends of the connection, the map and the programs.
      let new = try descriptors().filter { !before.contains($0) }
      #expect(new.count >= 6)
      for descriptor in new {
        #expect(fcntl(descriptor, F_GETFD) & FD_CLOEXEC != 0, "\(descriptor)")
      }
      withExtendedLifetime(opened) {}
    }
  }

  /// Programs for lookups would write values that the client must not write with the descriptor.
  @Test func aReadOnlyOfferSendsNoProgram() throws {
    let program = try EchoProgram(allowing: [.lookup])
    let broker = try RunningBroker([
      BrokerOffer(program.object, map: "echoes"),
      BrokerOffer(program.object, map: "echoes", as: "look", isReadOnly: true),
    ])
    for (name, count) in [("echoes", 4), ("look", 1)] {
      let connection = connectSocket(to: FilePath(broker.path), timeout: 5000)
      defer { close(connection) }
      let request = [0x4D, 0x4D, 0x53, 0x42, 1, 1, UInt8(name.utf8.count), 0] + Array(name.utf8)
      #expect(mms_send_message(connection, request, request.count, nil, 0, 1) == request.count)
      var reply = [UInt8](repeating: 0, count: 160 << 10)
      var received = [CInt](repeating: -1, count: Int(MMS_MAX_DESCRIPTORS))
      var number = received.count
      #expect(mms_receive_message(connection, &reply, reply.count, &received, &number, 1) > 0)
      #expect(number == count, "\(name)")
      for descriptor in received.prefix(number) { close(descriptor) }
    }
  }

  @Test func aBrokerWithoutFreeDescriptorsAcceptsLater() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let program = try EchoProgram()
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
      var limit = rlimit()
      getrlimit(resource, &limit)
      // Only the client's end of the connection fits.
      let next = dup(2)
      close(next)
      var few = rlimit(rlim_cur: rlim_t(next) + 1, rlim_max: limit.rlim_max)
      setrlimit(resource, &few)
      let client = Result { try BrokerClient(connectingTo: FilePath(broker.path)) }
      while broker.lines.get().isEmpty { sched_yield() }
      setrlimit(resource, &limit)
      #expect(broker.lines.get().allSatisfy { $0.contains("cannot accept a client") })
      #expect(try client.get().attachedPrograms() == ["repeat"])
    }
  }

  /// The kernel limits the descriptors that a user has sent and that were not received.
  @Test func aBrokerThatMaySendNoMoreDescriptorsSaysSo() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let program = try EchoProgram(allowing: [.lookup])
      let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
      let connections = (0..<8).map { _ in connectSocket(to: FilePath(broker.path), timeout: 5000) }
      let status: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 2]
      let open = [0x4D, 0x4D, 0x53, 0x42, 1, 1, 6, 0] + Array("echoes".utf8)
      func answer(_ connection: CInt) -> (text: String, descriptors: [CInt]) {
        var reply = [UInt8](repeating: 0, count: 160 << 10)
        var received = [CInt](repeating: -1, count: Int(MMS_MAX_DESCRIPTORS))
        var number = received.count
        let size = mms_receive_message(connection, &reply, reply.count, &received, &number, 1)
        #expect(size > 0)
        let text = String(decoding: reply.prefix(max(0, size)), as: UTF8.self)
        return (text, Array(received.prefix(number)))
      }
      // All of them are accepted.
      for connection in connections {
        #expect(mms_send_message(connection, status, status.count, nil, 0, 1) == status.count)
        _ = answer(connection)
      }
      // Capabilities exempt from this limit, which also limits the descriptors for poll(2).
      try #require(setuid(65534) == 0)
      let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
      var limit = rlimit()
      getrlimit(resource, &limit)
      var few = rlimit(rlim_cur: 16, rlim_max: limit.rlim_max)
      setrlimit(resource, &few)
      for connection in connections {
        #expect(mms_send_message(connection, open, open.count, nil, 0, 1) == open.count)
        var entry = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
        #expect(poll(&entry, 1, -1) == 1)
      }
      setrlimit(resource, &limit)
      let answers = connections.map(answer)
      #expect(answers[0].descriptors.count == 4)
      #expect(answers[7].descriptors.isEmpty)
      #expect(answers[7].text.contains("too many clients open maps; try again"))
      #expect(broker.lines.get().contains { $0.contains("too many sent descriptors") })
      // The broker continues, and the client may try again.
      #expect(mms_send_message(connections[7], open, open.count, nil, 0, 1) == open.count)
      #expect(answer(connections[7]).descriptors.count == 4)
    }
  }

  @Test func connectingEndsInTime() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let listener = Listener()
      // No process accepts, until the queue is full.
      var clients: [BrokerClient] = []
      let error = #expect(throws: BPFError.self) {
        while true {
          clients.append(try BrokerClient(connectingTo: listener.path, timeout: .milliseconds(50)))
        }
      }
      #expect(error?.errno == .resourceTemporarilyUnavailable, "\(String(describing: error))")
    }
  }

  @Test func aReasonThatWasSentBeforeTheRequestWasRead() throws {
    let listener = Listener()
    let (client, connection) = try listener.connect()
    let refusing = try TestThread {
      var request = pollfd(fd: connection, events: Int16(POLLIN), revents: 0)
      #expect(poll(&request, 1, -1) == 1)
      let answer: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 1, 2, 0] + Array("no".utf8)
      #expect(mms_send_message(connection, answer, answer.count, nil, 0, 1) == answer.count)
      // The kernel reports a reset, because the request was not read.
      close(connection)
    }
    let error = #expect(throws: BPFError.self) { try client.attachedPrograms() }
    try refusing.join()
    #expect(
      error?.kind == .permissionDenied && error?.advice == "no",
      "\(String(describing: error))"
    )
  }

  @Test func descriptorsOfARefusalAreClosed() async {
    await #expect(processExitsWith: .success) {
      let listener = Listener()
      let (client, connection) = try listener.connect()
      let before = try descriptors()
      let answer: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 2, 2, 0] + Array("no".utf8)
      let sent = [listener.descriptor, listener.descriptor]
      #expect(mms_send_message(connection, answer, answer.count, sent, 2, 1) == answer.count)
      let error = #expect(throws: BPFError.self) { try client.open("echoes") }
      #expect(error?.kind == .notFound && error?.advice == "no")
      #expect(try descriptors() == before)
      #expect(client.isConnected)
    }
  }

  @Test func aBrokerThatSendsAProgramOfAnotherType() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let map = try program.object.map("echoes")
      let listener = Listener()
      let (client, connection) = try listener.connect()
      let types = try #require(program.object.btf).rawBytes
      var answer: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1, 10, 6, 0] + Array("echoes".utf8)
      try withUnsafeBytes(of: map.info.btfValueTypeID) { answer += $0 }
      answer += [0, 0, 0, 0, 0, 1]
      withUnsafeBytes(of: UInt32(types.count)) { answer += $0 }
      answer += types
      let descriptor = try map.duplicateDescriptor()
      let sent = [descriptor.rawValue, try #require(try descriptors("bpf-prog").first)]
      let before = try descriptors()
      #expect(mms_send_message(connection, answer, answer.count, sent, 2, 1) == answer.count)
      let error = #expect(throws: BPFError.self) { try client.open("echoes") }
      #expect(
        error?.kind == .invalidObject && error?.advice == "it sent a program of another type",
        "\(String(describing: error))"
      )
      #expect(try descriptors() == before)
      try descriptor.close()
    }
  }
}

/// A socket on which the test replies in place of a broker, or does not reply.
private final class Listener {
  let path = FilePath("/tmp/mmapstorage-listener-\(UUID().uuidString)")
  let descriptor: CInt

  init() { descriptor = listenOnSocket(at: path, .ownerReadWrite) }

  deinit {
    close(descriptor)
    unlink(path.string)
  }

  /// A client, and the broker's end of its connection.
  func connect() throws -> (client: BrokerClient, connection: CInt) {
    let client = try BrokerClient(connectingTo: path)
    return (client, mms_accept(descriptor))
  }
}
