// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import Synchronization
import SystemPackage
import Testing

/// The conditions under which `request-service` ends.
@Suite(.liveKernel, .serialized) struct RequestServiceTests {
  /// It continues if the broker replies late, even after its timeout.
  @Test func aBrokerThatIsStopped() throws {
    let path = "/tmp/mmapstorage-stopped-\(UUID().uuidString)"
    let object = try BPFObject(.requestService)
    try object.load()
    try object.attach()
    let listener = try BrokerServer.listen(at: FilePath(path))
    defer { unlink(path) }
    let service = RunningService([path])
    let requests = Atomic(0)
    let second = DispatchSemaphore(value: 0)
    let server = try BrokerServer(
      socket: listener,
      offers: [BrokerOffer(object, map: "requests")],
      policy: BrokerPolicy(users: [0]),
      attachedPrograms: {
        if requests.add(1, ordering: .relaxed).newValue == 1 {
          // Its timeout is five seconds.
          for _ in 0..<700 where service.process.isRunning { usleep(10_000) }
        } else {
          second.signal()
        }
        return ["count_calls"]
      }
    )
    try listener.close()
    let ended = DispatchSemaphore(value: 0)
    Thread.detachNewThread {
      try? server.run()
      ended.signal()
    }
    try service.start()
    #expect(second.wait(timeout: .now() + 60) == .success, "it has ended")
    server.stop()
    ended.wait()
    object.detach()
    service.end()
  }

  /// The counting program uses another map, with the next version of the pins.
  @Test func theProgramUsesAnotherMap() throws {
    try withBPFFileSystem { root in
      let (directory, next) = (root.appending("requests"), root.appending("next"))
      let file = "/tmp/mmapstorage-pinned-\(UUID().uuidString).bpf.o"
      try Data(BPFObjectImage.requestService.bytes).write(to: URL(filePath: file))
      defer { unlink(file) }
      for path in [directory, next] {
        try BPFObject(.requestService).loadAndAttach(pinnedIn: path)
      }
      let service = RunningService([directory.string, file])
      try service.start()
      #expect(service.line()?.hasPrefix("Backend ") == true)
      let map = BPFPinDirectory(next).map("requests").string
      #expect(rename(map, BPFPinDirectory(directory).map("requests").string) == 0)
      for _ in 0..<6000 where service.process.isRunning { usleep(10_000) }
      service.end()
      #expect(service.line() == "The program that counts is no longer attached.")
      #expect(service.process.terminationReason == .exit)
    }
  }
}

/// A run of `request-service`.
private final class RunningService: Sendable {
  let process = Process()
  private let arguments: [String]
  private let output = Pipe()

  init(_ arguments: [String]) { self.arguments = arguments }

  func start() throws {
    try process.set("request-service", arguments, as: nil)
    process.standardOutput = output
    try process.run()
    try output.fileHandleForWriting.close()
  }

  /// The next line of output; nil if it has ended.
  func line() -> String? {
    var bytes: [UInt8] = []
    while let byte = try? output.fileHandleForReading.read(upToCount: 1)?.first {
      if byte == 10 { return String(decoding: bytes, as: UTF8.self) }
      bytes.append(byte)
    }
    return nil
  }

  func end() {
    guard process.processIdentifier != 0 else { return }
    if process.isRunning { kill(process.processIdentifier, SIGKILL) }
    process.waitUntilExit()
  }

  deinit { end() }
}
