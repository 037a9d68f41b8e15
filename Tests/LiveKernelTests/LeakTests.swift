// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct LeakTests {
  @Test(.atHardwareSpeed) func aThousandObjectsLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      try withBPFFileSystem { directory in
        let cut = Array(BPFObjectImage.taskCounters.bytes.prefix(2000))
        // One of each first, to exclude resources that are kept once for the process.
        for step in Step.allCases { try run(step, in: directory, cut: cut) }
        let before = try descriptors()
        let mappings = try mappingCount()
        let megabytes = try mappedMegabytes()
        for round in 0..<1000 {
          try run(Step.allCases[round % Step.allCases.count], in: directory, cut: cut)
        }
        #expect(try descriptors() == before)
        // The allocator may allocate some more; one mapping or one verifier log in each round is
        // far more.
        #expect(try mappingCount() < mappings + 50)
        #expect(try mappedMegabytes() < megabytes + 64)
      }
    }
  }
}

private enum Step: CaseIterable {
  case cutShort, neverLoaded, unknownGlobal, refused, neverAttached, unattachable, closed, pinned
}

private func run(_ step: Step, in directory: FilePath, cut: [UInt8]) throws {
  switch step {
  case .cutShort:
    #expect(throws: BPFError.self) { try BPFObject(bytes: cut, name: "cut") }
  case .neverLoaded:
    _ = try BPFObject(.taskCounters).layout(ofMap: "task_counters")
  case .unknownGlobal:
    let object = try BPFObject(.taskCounters)
    #expect(throws: BPFError.self) { try object.setGlobal("none", to: UInt8(0)) }
  case .refused:
    #expect(throws: BPFError.self) { try BPFObject(.refused).load() }
  case .neverAttached:
    let object = try loadedCounters()
    try object.setGlobal("total", to: UInt64(1))
    #expect(throws: BPFError.self) { try object.map("none") }
    _ = try object.maps()
  case .unattachable:
    let object = try BPFObject(.unattachable)
    try object.load()
    #expect(throws: BPFError.self) { try object.attach() }
  case .closed:
    let object = try loadedCounters()
    try object.attach()
    let map = try object.map("by_number")
    #expect(throws: BPFError.self) { try BPFMap(adopting: FileDescriptor(rawValue: 0)) }
    object.close()
    map.close()
    #expect(object.attachedPrograms.isEmpty)
  case .pinned:
    let map = try loadedCounters().map("by_number")
    let path = directory.appending("counters")
    try map.pin(at: path)
    #expect(throws: BPFError.self) { try map.pin(at: path) }
    try BPFMap(pinnedAt: path).unpin(at: path)
    #expect(throws: BPFError.self) { try BPFMap(pinnedAt: path) }
  }
}

private func mappingCount() throws -> Int {
  try String(contentsOfFile: "/proc/self/maps", encoding: .utf8).split(separator: "\n").count
}

private func mappedMegabytes() throws -> Int {
  let pages = try String(contentsOfFile: "/proc/self/statm", encoding: .utf8).prefix { $0 != " " }
  return try (#require(Int(pages)) * sysconf(CInt(_SC_PAGESIZE))) >> 20
}
