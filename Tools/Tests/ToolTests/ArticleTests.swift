// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import MmapStorageBroker
import MmapStorageInspection
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

      let map = try BPFMap(pinnedAt: pins.map("tool_requests"), readOnly: true)
      let reader = try TaskStorageReader(map: map)
      for found in try reader.values() {
        for field in reader.layout.fields { print(field.name, field.value(in: found.value)) }
      }

      guard try requests.verifyMapping() == .own else {
        try requests.removeValue(of: .callingThread)  // withCurrent registers the page again
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
    try withSampleService { sample in
      let run = try ToolRun(["dump", sample.map, "--process", sample.process, "--json"])
      let values = try #require(try run.json() as? [[String: Any]])
      #expect(values.count == 3)
      #expect(values.allSatisfy { $0["user"] as? Int == 65534 })
      #expect(
        values.allSatisfy { ($0["value"] as? [String: Any])?["route"] as? String == "/orders" }
      )
      sample.endBroker()
      sample.service.waitUntilExit()  // it detects that the broker has ended
      #expect(sample.service.terminationReason == .exit && sample.service.terminationStatus == 0)
    }
  }

  @Test(.articlesKernel) func printedByTheSampleService() throws {
    let production = try Article("DocsSource/MmapStorage.docc/RunningInProduction.md")
    let inspecting = try Article("DocsSource/MmapStorage.docc/InspectingValues.md")
    try withSampleService { sample in
      // Other processes of the machine may have maps and values.
      let maps = try ToolRun(["maps"]).output.split(separator: "\n")
      let lines = maps.prefix(1) + maps.filter { $0.split(separator: " ").first == sample.map[...] }
      #expect(production.quotesMasked(lines.joined(separator: "\n")), "\(lines)")

      let dump = try ToolRun(["dump", sample.map, "--process", sample.process])
      #expect(production.quotesMasked(dump.output), "\(dump)")
      #expect(try Article("README.md").quotesMasked(dump.output), "\(dump)")

      let changes = try changes(of: sample)
      #expect(inspecting.quotesMasked(changes), "\(changes)")

      sample.endBroker()
      let printed = sample.output.fileHandleForReading.readDataToEndOfFile()
      let said = String(decoding: printed, as: UTF8.self).split(separator: "\n")
      #expect(said.count == 2)
      for line in said { #expect(production.quotes(String(line)), "\(line)") }
    }
  }

  @Test(.articlesKernel) func printedByTheTool() throws {
    let release = /Linux 6\.18\.\S+/
    let doctor = try ToolRun(["doctor"]).output.replacing(release, with: "Linux")
    var production = try Article("DocsSource/MmapStorage.docc/RunningInProduction.md")
    production.text.replace(release, with: "Linux")
    #expect(production.quotesMasked(doctor), "\(doctor)")

    try withRequestServiceObject { object in
      let layout = try ToolRun(["layout", object]).output.trimmingCharacters(in: .newlines)
      let inspecting = try Article("DocsSource/MmapStorage.docc/InspectingValues.md")
      #expect(inspecting.quotes(layout), "\(layout)")
    }
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips the test on kernels that the articles do not show.
  static var articlesKernel: Self {
    let release = (try? String(contentsOfFile: "/proc/sys/kernel/osrelease", encoding: .utf8)) ?? ""
    return .enabled(
      if: release.hasPrefix("6.18."),
      "the articles show the output on Linux 6.18, and this is \(release)"
    )
  }
}

/// The broker and the sample service, which runs as nobody.
private struct SampleService {
  var broker: Process
  var service: Process
  var output: Pipe
  /// The id of the map.
  var map: String

  /// The id of the service.
  var process: String { "\(service.processIdentifier)" }

  func endBroker() {
    kill(broker.processIdentifier, SIGKILL)
    broker.waitUntilExit()
  }
}

/// What `mmapstorage watch` prints first for the three threads, and then for their next requests.
private func changes(of sample: SampleService) throws -> String {
  let watch = Process()
  let output = Pipe()
  try watch.set("mmapstorage", ["watch", sample.map, "--process", sample.process], as: nil)
  watch.standardOutput = output
  try watch.run()
  defer {
    kill(watch.processIdentifier, SIGKILL)
    watch.waitUntilExit()
  }
  var reader = LineReader(output.fileHandleForReading)
  var lines: [String] = []
  while lines.count < 6 {
    let line = try reader.next()
    guard lines.count < 3 || line.contains("id=*") else { continue }
    // A thread may be at another step of its request.
    lines.append(line.replacing(/(calls|state)=\*/) { "\($0.1)=" })
  }
  return lines.joined(separator: "\n")
}

/// Runs the body with the object file of the sample service.
private func withRequestServiceObject(_ body: (String) throws -> Void) throws {
  let directory = "/tmp/mmapstorage-sample-\(UUID().uuidString)"
  try FileManager.default.createDirectory(atPath: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(atPath: directory) }
  let object = directory + "/requests.bpf.o"
  try Data(BPFObjectImage.requestService.bytes).write(to: URL(filePath: object))
  try body(object)
}

/// Runs the body when three threads of the sample service have values.
private func withSampleService(_ body: (SampleService) throws -> Void) throws {
  try withRequestServiceObject { object in
    let socket = object + ".sock"
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
    let output = Pipe()
    service.standardOutput = output
    try service.run()
    try output.fileHandleForWriting.close()
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
    let id = "\(try #require(map))"
    // The values of its threads exist after their first requests begin.
    var values = 0
    while values < 3, service.isRunning {
      let run = try ToolRun([
        "dump", id, "--process", "\(service.processIdentifier)", "--json",
      ])
      values = try #require(try run.json() as? [[String: Any]]).count
    }
    try body(SampleService(broker: broker, service: service, output: output, map: id))
  }
}
