// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import SystemPackage
import Testing

/// `struct request` of request-service.bpf.c.
struct Request: MapValue {
  var id: UInt64
  var calls: UInt64
  var state: UInt32
  var route: InlineArray<12, CChar>
}

func isCounting(_ requests: TaskLocalStorage<Request>) throws -> Bool {
  let before = try requests.withCurrent { $0.calls }
  _ = getppid()
  return try requests.withCurrent { $0.calls } != before
}

/// The code of the articles about production.
@Suite(.liveKernel, .serialized) struct ArticleTests {
  @Test func pinsOfAService() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("requests")
      let group: UInt32 = 65534

      let object = try BPFObject(.requests)
      let outcome = try object.loadAndAttach(pinnedIn: directory, attributes: .group(group))

      #expect(outcome == .created)
      let pins = BPFPinDirectory(directory)
      let requests = try TaskLocalStorage<ToolRequest>(
        pinnedAt: pins.map("tool_requests"),
        layout: BPFObject(.requests).layout(ofMap: "tool_requests")
      )
      try requests.withCurrent { $0.id = 3 }

      for found in try requests.values() {
        print(found.task.processName, found.task.thread, found.value.id)
      }

      guard try requests.verifyMapping() == .own else {
        try requests.removeValue(of: .current)  // the next withCurrent registers the page again
        return
      }

      #expect(try pins.attachedPrograms() == ["count"])
    }
  }

  @Test func aKilledLoaderIsNoticedByTheValueAlone() throws {
    let name = "/tmp/mmapstorage-killed-\(UUID().uuidString)"
    let (object, socket) = (name + ".bpf.o", name + ".sock")
    try Data(BPFObjectImage.requestService.bytes).write(to: URL(filePath: object))
    defer {
      unlink(object)
      unlink(socket)
    }
    let loader = Process()
    try loader.set("mmapstorage-broker", [object, "--user", "0", "--socket", socket], as: nil)
    loader.standardOutput = FileHandle.nullDevice
    try loader.run()
    defer {
      kill(loader.processIdentifier, SIGKILL)
      loader.waitUntilExit()
    }
    while access(socket, F_OK) != 0, loader.isRunning { usleep(10_000) }
    let requests = try TaskLocalStorage<Request>(
      from: BrokerClient(connectingTo: FilePath(socket)),
      "requests"
    )
    #expect(try isCounting(requests))
    kill(loader.processIdentifier, SIGKILL)
    loader.waitUntilExit()
    #expect(try !isCounting(requests))
  }

  @Test func theSampleService() throws {
    let directory = "/tmp/mmapstorage-sample-\(UUID().uuidString)"
    try FileManager.default.createDirectory(
      atPath: directory,
      withIntermediateDirectories: false
    )
    defer { try? FileManager.default.removeItem(atPath: directory) }
    let object = directory + "/requests.bpf.o"
    try Data(BPFObjectImage.requestService.bytes).write(to: URL(filePath: object))
    let socket = directory + "/requests.sock"
    let broker = Process()
    try broker.set(
      "mmapstorage-broker",
      [object, "--user", "65534", "--socket", socket],
      as: nil
    )
    broker.standardOutput = FileHandle.nullDevice
    try broker.run()
    defer {
      kill(broker.processIdentifier, SIGKILL)
      broker.waitUntilExit()
    }
    while access(socket, F_OK) != 0, broker.isRunning { usleep(10_000) }

    let service = Process()
    try service.set("request-service", [socket], as: 65534)
    service.standardOutput = FileHandle.nullDevice
    try service.run()
    defer {
      kill(service.processIdentifier, SIGKILL)
      service.waitUntilExit()
    }
    // The socket is created before the map. Other processes may have a map with this name.
    var map: Any?
    while map == nil, broker.isRunning {
      let maps = try #require(try ToolRun(["maps", "--json"]).json() as? [[String: Any]])
      map =
        maps.first { map in
          let holders = map["processes"] as? [[String: Any]] ?? []
          return map["name"] as? String == "requests"
            && holders.contains { $0["id"] as? Int32 == broker.processIdentifier }
        }?["id"]
    }
    let id = try #require(map)
    // The values of its threads exist after their first requests begin.
    var values: [[String: Any]] = []
    while values.count < 3, service.isRunning {
      let run = try ToolRun([
        "dump", "\(id)", "--process", "\(service.processIdentifier)", "--json",
      ])
      values = try #require(try run.json() as? [[String: Any]])
    }
    #expect(values.allSatisfy { $0["user"] as? Int == 65534 })
    #expect(values.allSatisfy { ($0["value"] as? [String: Any])?["route"] as? String == "/orders" })

    kill(broker.processIdentifier, SIGKILL)
    broker.waitUntilExit()
    service.waitUntilExit()  // it detects that the broker has ended
    #expect(service.terminationReason == .exit && service.terminationStatus == 0)
  }
}
