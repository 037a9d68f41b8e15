// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
import MmapStorage
import RequestCosts
import SystemPackage
import Testing

/// What a server that uses a loader's programs knows of them. In processes of their own, because they give
/// up their rights.
@Suite(.enabled(if: mayLoad, "loading BPF programs needs root")) struct PinnedTests {
  @Test func aServerWithoutRightsKnowsWhatTheLoaderLeftOut() async {
    await #expect(processExitsWith: .success) {
      try await withPins(without: ["on_sample", "on_page_fault"]) { _, directory in
        let log = TestLog()
        let source = try await CostsSource.pinned(in: directory)
        try await TestServer.run(source, logger: log.logger) { server in
          try await server.load(["/calls/5"], requests: 32)
          let report = server.costs.report()
          #expect(report.missing.contains { $0.hasPrefix("page faults are not counted: ") })
          #expect(report.missing.contains { $0.hasPrefix("user time is not sampled") })
          #expect(report.missedRuns == 0)
          #expect(try server.route("GET /calls/{count}").costs.userNanoseconds > 0)
          let (_, json) = try await server.get("/costs.json")
          #expect(json.contains("page faults are not counted") && json.contains("missedRuns"))
        }
        #expect(log.all.filter { $0.contains("page faults") }.count == 1)
      }
    }
  }

  @Test func whatTheLoaderSaysIsForeign() async {
    await #expect(processExitsWith: .success) {
      try await withPins { loader, directory in
        func missing(_ state: Foreign) async throws -> [String] {
          try loader.setValue(state, at: 0)
          let source = try await CostsSource.pinned(in: directory)
          let log = TestLog()
          let missing = RequestCosts(source, logger: log.logger).report().missing
          return missing.filter { $0.contains("loader") }
        }
        #expect(try await missing(Foreign(version: 1)) == [])
        try await wait("the machine has run for a while") { now() > 12_000_000_000 }
        let abandoned = try await missing(Foreign(version: 1, updated: now() - 11_000_000_000))
        #expect(abandoned.count == 1 && abandoned[0].hasPrefix("the loader has ended"))
        #expect(try await missing(Foreign(version: 1, leftOut: 2)).count == 1)
        let events = try await missing(Foreign(version: 1, leftOut: 32))
        #expect(events.count == 1 && events[0].hasPrefix("events are missed"))
        let unknown = try await missing(Foreign(version: 1, leftOut: 1 << 63 | 1))
        #expect(unknown.count == 2 && unknown[1].contains("does not know"))
        for version in [0, 2, UInt64.max] {
          let other = try await missing(Foreign(version: version, leftOut: .max))
          #expect(other.count == 1 && other[0].contains("same version"))
        }
      }
    }
  }

  @Test func anyNumbersOutsideOfRequestsAreServed() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        let source = try await CostsSource.pinned(in: directory)
        try #require(seteuid(0) == 0)
        let processes = try BPFMap(pinnedAt: directory.appending("processes"))
        try TaskLocalStorage<ProcessContent>(map: processes)
          .setValue(ProcessContent(), of: ThreadID(rawValue: getpid()))
        try #require(seteuid(nobody) == 0)
        try await TestServer.run(source) { server in
          let (status, _) = try await server.get("/costs.json")
          #expect(status == 200)
          #expect(server.costs.report().outside?.tcpSent ?? 0 >= 1 << 63)
        }
      }
    }
  }

  @Test func anotherMapInPlaceOfTheLoadersIsNotUsed() async {
    await #expect(processExitsWith: .success) {
      try await withPins { _, directory in
        try #require(seteuid(0) == 0)
        let pin = CostsProgram.readOnlyPin(in: directory)
        try #require(unlink(pin.string) == 0)
        try BPFMap(pinnedAt: directory.appending("processes")).pin(at: pin)
        try #require(chmod(pin.string, 0o644) == 0)
        try #require(seteuid(nobody) == 0)
        let error = try await #require(throws: BPFError.self) {
          try await CostsSource.pinned(in: directory)
        }
        #expect(error.kind == .wrongType)
      }
    }
  }
}

private let nobody: uid_t = 65534

/// `struct process`, as anybody may write it who may write the map.
private struct ProcessContent: MapValue, BitwiseCopyable {
  var outside = huge

  private static var huge: KernelCosts {
    var costs = KernelCosts()
    costs.kernelTime = 1 << 63
    costs.tcpSent = 1 << 63
    return costs
  }
}

/// `struct loader`, as anybody may write it who may write the map.
private struct Foreign: MapValue, BitwiseCopyable {
  var version: UInt64 = 0
  var leftOut: UInt64 = 0
  var missedRuns: UInt64 = 0
  var updated = now()
}

/// CLOCK_MONOTONIC in nanoseconds.
private func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

/// Pins the programs and gives up all rights. `body` gets the map that tells of the loader.
private func withPins(
  without: Set<String> = [],
  _ body: (BPFArrayMap<Foreign>, FilePath) async throws -> Void
) async throws {
  let directory = "/tmp/request-costs-tests.\(getpid())"
  try #require(mkdir(directory, 0o755) == 0)
  defer { rmdir(directory) }
  try #require(mount("bpf", directory, "bpf", 0, "mode=0755") == 0)
  defer { umount2(directory, CInt(MNT_DETACH)) }
  let program = try CostsProgram(without: without)
  let path = FilePath(directory)
  try program.pin(in: path)
  for pin in CostsProgram.pins(in: path) {
    try #require(chmod(pin.string, pin == CostsProgram.readOnlyPin(in: path) ? 0o644 : 0o666) == 0)
  }
  let loader = try BPFArrayMap<Foreign>(
    BPFMap(pinnedAt: CostsProgram.readOnlyPin(in: path))
  )
  try #require(seteuid(nobody) == 0)
  defer {
    seteuid(0)
    program.detach()
  }
  try await body(loader, path)
}
