// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import CTestSupport
import Foundation
import Glibc
import LibBPF
import MmapStorage
import MmapStorageBroker
import SystemPackage
import TestSupport
import Testing

/// Sends damaged messages to a broker, and to clients of a broker. The number of a case determines
/// its messages, so a failure can be repeated.
///
/// MMAPSTORAGE_BROKER_FUZZ_SECONDS sets the duration of each test, 3 s by default.
/// MMAPSTORAGE_BROKER_FUZZ_FIRST is the number of the first case.
@Suite(.liveKernel, .threadPidfds) struct BrokerFuzzTests {
  @Test func aBrokerWithHostileClients() async {
    await #expect(processExitsWith: .success) { try fuzzBroker() }
  }

  @Test(arguments: LiveKernel.backends)
  func aClientOfAHostileBroker(_ backend: BackendKind) async {
    await #expect(processExitsWith: .success) { [name = backend.rawValue as String] in
      try fuzzClient(try #require(BackendKind.allCases.first { $0.rawValue == name }))
    }
  }
}

// MARK: - Clients against a broker

private func fuzzBroker() throws {
  let program = try EchoProgram()
  let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
  let map = try program.object.map("echoes").info.id
  let baits = try Baits(program)
  func checkBroker(_ number: UInt64) throws {
    let client = try BrokerClient(connectingTo: FilePath(broker.path))
    try #require(try client.open("echoes").map.info.id == map, "case \(number)")
    try #require(try client.attachedPrograms() == ["repeat"], "case \(number)")
  }
  try checkBroker(0)
  let before = try openFiles().count
  var hanging: [CInt] = []
  let last = try forEachCase { number, random in
    let descriptor = connectSocket(to: FilePath(broker.path), timeout: 1000)
    try #require(descriptor >= 0, "case \(number): errno \(-descriptor)")
    for _ in 0..<random.next(4) {
      var message = random.next(4) == 0 ? Bytes.random(&random, 70_000) : Bytes.request(&random)
      random.damage(&message)
      let sent = baits.some(&random)
      _ = test_send(descriptor, message, message.count, sent, sent.count)
    }
    switch random.next(6) {
    case 0: shutdown(descriptor, CInt(SHUT_WR))
    case 1: shutdown(descriptor, CInt(SHUT_RD))
    case 2: shutdown(descriptor, CInt(SHUT_RDWR))
    case 3:
      var reply = [UInt8](repeating: 0, count: 160 << 10)
      var count = 0
      _ = mms_receive_message(descriptor, &reply, reply.count, nil, &count, 0)
    default: break
    }
    if random.next(8) == 0, hanging.count < 20 {
      hanging.append(descriptor)
    } else {
      close(descriptor)
    }
    if hanging.count == 20 || random.next(50) == 0 {
      for descriptor in hanging { close(descriptor) }
      hanging = []
    }
    if number % 32 == 0 { try checkBroker(number) }
  }
  for descriptor in hanging { close(descriptor) }
  // When it replies, it has handled all connections that ended earlier.
  for _ in 0..<1000 where try openFiles().count > before { try checkBroker(last) }
  let now = try openFiles()
  #expect(now.count <= before, "\(now)")
  broker.stop()
}

// MARK: - A broker against clients

private func fuzzClient(_ backend: BackendKind) throws {
  let program = try EchoProgram(allowing: [backend])
  let baits = try Baits(program)
  let good = try Answers(program)
  let path = "/tmp/mmapstorage-fuzz-\(getpid())"
  let listener = listenOnSocket(at: FilePath(path), .ownerReadWrite)
  defer {
    close(listener)
    unlink(path)
  }
  var opened = 0
  var refused = 0
  func connect() throws -> (BrokerClient, CInt) {
    let client = try BrokerClient(connectingTo: FilePath(path), timeout: .milliseconds(10))
    let connection = mms_accept(listener)
    try #require(connection >= 0)
    return (client, connection)
  }
  /// Opens the map and uses it.
  func use(_ client: BrokerClient) throws {
    do throws(BPFError) {
      let storage = try TaskLocalStorage<Echo>(from: client, "echoes")
      opened += 1
      try storage.withCurrent { $0.said = 3 }
      _ = try storage.withCurrent { ($0.said, $0.heard, $0.calls) }
      _ = try storage.verifyMapping()
      try storage.removeValue(of: .callingThread)
    } catch { refused += 1 }
  }
  // Descriptors that stay open after the first use are not leaks.
  do {
    let (client, connection) = try connect()
    defer { close(connection) }
    _ = test_send(connection, good.map, good.map.count, good.descriptors, good.descriptors.count)
    try use(client)
    try #require(opened == 1 && refused == 0)
  }
  let before = try openFiles().count
  let last = try forEachCase { number, random in
    do {
      let (client, connection) = try connect()
      var isOpen = true
      defer { if isOpen { close(connection) } }
      let asksForMap = random.next(4) != 0
      for _ in 0..<[0, 1, 1, 1, 1, 1, 1, 2][random.next(8)] {
        var message: [UInt8]
        var sent: [CInt] = []
        switch random.next(8) {
        case 0: message = good.status
        case 1: message = Bytes.random(&random, 170 << 10)
        default:
          message = good.map
          sent = good.descriptors
        }
        if random.next(4) != 0 { random.damage(&message) }
        if random.next(3) == 0 { baits.change(&sent, &random) }
        _ = test_send(connection, message, message.count, sent, sent.count)
      }
      if random.next(3) == 0 {
        close(connection)
        isOpen = false
      }
      for _ in 0..<2 {
        if asksForMap { try use(client) } else { _ = try? client.attachedPrograms() }
      }
      _ = client.isConnected
    }
    if number % 16 == 0 {
      let now = try openFiles()
      try #require(now.count == before, "before case \(number + 1): \(before) before, now \(now)")
    }
  }
  #expect(opened > 1 && refused > 0)
  print("last case \(last): opened \(opened), refused \(refused)")
}

// MARK: - Cases

/// The open descriptors with their files.
private func openFiles() throws -> [String] {
  try descriptors().map { descriptor in
    let link = "/proc/self/fd/\(descriptor)"
    let target = try? FileManager.default.destinationOfSymbolicLink(atPath: link)
    return "\(descriptor): \(target ?? "closed meanwhile")"
  }
}

/// Calls the body with one case after the other, until the time has passed.
private func forEachCase(_ body: (UInt64, inout SeededRandom) throws -> Void) throws -> UInt64 {
  func environment(_ name: String) -> UInt64? {
    getenv(name).flatMap { UInt64(String(cString: $0)) }
  }
  let seconds = environment("MMAPSTORAGE_BROKER_FUZZ_SECONDS") ?? 3
  alarm(UInt32(seconds * 3 + 60))  // A case that does not end is also a failure.
  let end = ContinuousClock.now + .seconds(Int(seconds))
  var number = environment("MMAPSTORAGE_BROKER_FUZZ_FIRST") ?? 1
  repeat {
    var random = SeededRandom(state: number &* 0x9e37_79b9_7f4a_7c15 | 1)
    do { try body(number, &random) } catch {
      Issue.record("case \(number): \(error)")
      throw error
    }
    number += 1
  } while ContinuousClock.now < end
  return number - 1
}

private extension SeededRandom {
  /// Makes up to four changes.
  mutating func damage(_ bytes: inout [UInt8]) {
    for _ in 0..<next(4) where !bytes.isEmpty {
      // Half of the changes are in the header.
      let place = next(2) == 0 ? next(min(bytes.count, 40)) : next(bytes.count)
      switch next(6) {
      case 0: bytes[place] ^= 1 << UInt8(next(8))
      case 1: bytes[place] = UInt8(next(256))
      case 2: bytes[place] = [0, 1, 0x7F, 0x80, 0xFF][next(5)]
      case 3: bytes.removeLast(next(bytes.count + 1))
      case 4: bytes += Bytes.random(&self, 600)
      default: bytes.remove(at: place)
      }
    }
  }
}

private enum Bytes {
  static let header: [UInt8] = [0x4D, 0x4D, 0x53, 0x42, 1]

  static func request(_ random: inout SeededRandom) -> [UInt8] {
    random.next(3) == 0 ? header + [2] : header + [1, 6, 0] + Array("echoes".utf8)
  }

  static func random(_ random: inout SeededRandom, _ limit: Int) -> [UInt8] {
    let count = random.next([2, 20, 520, limit][random.next(4)])
    let starts = random.next(2) == 0 ? header : []
    return starts + (0..<count).map { _ in UInt8(truncatingIfNeeded: random.next(256)) }
  }
}

/// The replies of a real broker.
private struct Answers {
  var map: [UInt8]
  var descriptors: [CInt]
  var status: [UInt8]

  init(_ program: EchoProgram) throws {
    let broker = try RunningBroker([BrokerOffer(program.object, map: "echoes")])
    func ask(_ request: [UInt8]) throws -> ([UInt8], [CInt]) {
      let descriptor = connectSocket(to: FilePath(broker.path), timeout: 5000)
      defer { close(descriptor) }
      _ = mms_send_message(descriptor, request, request.count, nil, 0, 1)
      var bytes = [UInt8](repeating: 0, count: 160 << 10)
      var descriptors = [CInt](repeating: -1, count: Int(MMS_MAX_DESCRIPTORS))
      var count = descriptors.count
      let size = mms_receive_message(descriptor, &bytes, bytes.count, &descriptors, &count, 1)
      try #require(size > 0)
      return (Array(bytes.prefix(size)), Array(descriptors.prefix(count)))
    }
    (map, descriptors) = try ask(Bytes.header + [1, 6, 0] + Array("echoes".utf8))
    (status, _) = try ask(Bytes.header + [2])
  }
}

/// Descriptors that were not requested.
private struct Baits {
  private var descriptors: [CInt]
  private let programs: [BPFProgram]
  private let maps: [BPFMap]

  init(_ program: EchoProgram) throws {
    var pipes: [CInt] = [-1, -1]
    try #require(pipe(&pipes) == 0)
    descriptors =
      pipes + [mms_event(), open("/dev/null", O_RDONLY), open("/", O_RDONLY | O_DIRECTORY)]
    let link = try program.object.program("repeat").link()
    programs = [try BPFProgram(id: link.info.programID)]
    maps = try ["echoes", "not_task_storage"].map { try program.object.map($0) }
    maps.forEach { descriptors.append((try? $0.duplicateDescriptor().rawValue) ?? 0) }
    let readOnly = try BPFMap(id: maps[0].info.id, readOnly: true)
    descriptors.append(try readOnly.duplicateDescriptor().rawValue)
    descriptors += programs.map(\.descriptor)
    try #require(descriptors.allSatisfy { $0 >= 0 })
  }

  func some(_ random: inout SeededRandom) -> [CInt] {
    let count = [0, 0, 1, 3, 8, 9, 100, 253][random.next(8)]
    return (0..<count).map { _ in descriptors[random.next(descriptors.count)] }
  }

  func change(_ sent: inout [CInt], _ random: inout SeededRandom) {
    switch random.next(6) {
    case 0: sent = some(&random)
    case 1: sent.removeLast(random.next(sent.count + 1))
    case 2: sent.append(descriptors[random.next(descriptors.count)])
    case 3: sent.reverse()
    case 4: sent += sent.prefix(1)
    default:
      if !sent.isEmpty {
        sent[random.next(sent.count)] = descriptors[random.next(descriptors.count)]
      }
    }
  }
}
