// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct MapTests {
  @Test func tellsWhatItIs() throws {
    let map = try loadedCounters().map("task_counters")
    let info = try map.info
    #expect(info.type == .taskStorage && "\(info.type)" == "task_storage")
    #expect(info.name == "task_counters" && map.name == "task_counters")
    #expect(info.keySize == 4 && info.valueSize == 32 && info.maxEntries == 0)
    #expect(info.flags == .noPrealloc && "\(info.flags)" == "BPF_F_NO_PREALLOC")
    #expect(info.id != 0 && info.btfID != 0 && info.btfKeyTypeID != 0 && info.btfValueTypeID != 0)
    #expect(info.isWritable)
    #expect(try #require(info.memory) >= 0)  // Linux 6.1 reports 0
  }

  @Test func aFrozenMapIsNotWritable() throws {
    #expect(try loadedCounters().map(".rodata").info.isWritable == false)
  }

  @Test func whatMapsAreCreatedWithIsClosed() async {
    await #expect(processExitsWith: .success) {
      let before = try descriptors()
      for _ in 0..<3 { try BPFMap(creatingTaskStorage: "created", wordCount: 1).close() }
      #expect(try descriptors() == before)
    }
  }

  @Test func aMapByItsID() throws {
    let id = try loadedCounters().map("by_number").info.id
    let map = try loadedCounters().map("by_number")
    #expect(try BPFMap.ids().contains(map.info.id))
    #expect(try BPFMap(id: map.info.id).info.isWritable)
    #expect(try BPFMap(id: map.info.id, readOnly: true).info.isWritable == false)
    let error = #expect(throws: BPFError.self) { while true { _ = try BPFMap(id: id) } }
    #expect(
      error?.kind == .notFound && error?.object == "map \(id)",
      "\(String(describing: error))"
    )
  }

  @Test func outlivesItsObject() throws {
    let object = try loadedCounters()
    let map = try object.map("task_counters")
    let layout = try object.layout(ofMap: "task_counters")
    object.close()
    #expect(try map.info.type == .taskStorage)
    #expect(try map.valueLayout() == layout)
  }

  @Test func everyMapHasItsOwnDescriptor() throws {
    let object = try loadedCounters()
    let first = try object.map("by_number")
    let second = try object.map("by_number")
    let numbers = try (first.withDescriptor { $0 }, second.withDescriptor { $0 })
    #expect(numbers.0 != numbers.1)
    first.close()
    #expect(try second.info.type == .hash)
    #expect(try object.maps().map(\.name) == ["task_counters", "by_number"])
  }

  @Test func nothingWorksAfterClosing() throws {
    let map = try loadedCounters().map("by_number")
    map.close()
    map.close()
    expectWrongState { _ = try map.info }
    expectWrongState { try map.pin(at: "/sys/fs/bpf/x") }
    expectWrongState { try map.unpin(at: "/sys/fs/bpf/x") }
    expectWrongState { try map.withDescriptor { _ in } }
  }

  @Test func adoptingTakesOwnershipOfTheDescriptor() throws {
    let original = try loadedCounters().map("by_number")
    let descriptor = try original.duplicateDescriptor()
    let map = try BPFMap(adopting: descriptor)
    #expect(try map.withDescriptor { $0 } == descriptor)
    #expect(try map.info.id == original.info.id)
    map.close()
    #expect(throws: Errno.badFileDescriptor) { _ = try descriptor.duplicate() }
  }

  @Test func duplicatingLeavesTheDescriptorAlone() throws {
    let original = try loadedCounters().map("by_number")
    let map = try original.withDescriptor { try BPFMap(duplicating: $0) }
    let numbers = try (map.withDescriptor { $0 }, original.withDescriptor { $0 })
    #expect(numbers.0 != numbers.1)
    original.close()
    #expect(try map.info.name == "by_number")
    #expect(try map.withDescriptor { fcntl($0.rawValue, F_GETFD) } & FD_CLOEXEC != 0)
  }

  @Test func aClosedDescriptor() throws {
    let descriptor = try FileDescriptor.open("/dev/null", .readOnly)
    try descriptor.close()
    for number in [descriptor.rawValue, -1] {
      let error = try #require(throws: BPFError.self) {
        try BPFMap(adopting: FileDescriptor(rawValue: number))
      }
      #expect(error.kind == .wrongState && error.errno == .badFileDescriptor)
      #expect(error.object == "descriptor \(number)")
    }
  }

  @Test func descriptorsOfOtherThingsStayTheCallers() async {
    await #expect(processExitsWith: .success) {
      let object = try loadedCounters()
      try object.program("count_calls").attach()
      let file = try FileDescriptor.open("/dev/null", .readOnly)
      defer { try? file.close() }
      let others = [
        (try #require(try descriptors("bpf-prog").first), "a BPF program"),
        (try #require(try descriptors("bpf_link").first), "a BPF link"),
        (file.rawValue, "'/dev/null'"),
      ]
      for (number, words) in others {
        let descriptor = FileDescriptor(rawValue: number)
        let adopt = try #require(throws: BPFError.self) { try BPFMap(adopting: descriptor) }
        #expect(adopt.kind == .wrongType && adopt.advice == "it is \(words), not a map")
        let copy = try #require(throws: BPFError.self) { try BPFMap(duplicating: descriptor) }
        #expect(copy.kind == .wrongType && copy.advice == "it is \(words), not a map")
        #expect(throws: Never.self) { try descriptor.duplicate().close() }
      }
      object.detach()
    }
  }

  @Test func aMapWithoutTypeInformation() throws {
    let map = try BPFMap(creating: .hash, name: "bare", keySize: 4, valueSize: 8, maxEntries: 1)
    let error = try #require(throws: BPFError.self) { try map.valueLayout() }
    #expect(error.kind == .layoutUnavailable)
    #expect(error.object == "map 'bare'" && error.advice.contains("-g"))
  }

  @Test func theKernelsLayoutIsTheObjects() throws {
    let object = try loadedCounters()
    let map = try object.map("task_counters")
    #expect(
      try map.withDescriptor { try BPFMap(duplicating: $0) }.valueLayout()
        == object.layout(ofMap: "task_counters")
    )
    let created = try BPFMap(creatingTaskStorage: "created", wordCount: 3)
    #expect(
      try created.withDescriptor { try BPFMap(duplicating: $0) }.valueLayout()
        == created.valueLayout()
    )
  }

  @Test func creatingSaysWhatTheKernelRefused() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFMap(creatingTaskStorage: "wrong", wordCount: 1, flags: [])
    }
    #expect(error.errno == .invalidArgument && error.object == "map 'wrong'")
    #expect(error.attempt == "create a map of type task_storage with flags 0")
  }

  @Test func bytesOfAnotherSizeThanTheMapsTrap() async {
    await #expect(processExitsWith: .trap) {
      try? elements().set([0], of: [0, 0, 0, 0], .always)
    }
    await #expect(processExitsWith: .trap) {
      _ = try? elements().value(of: [0])
    }
  }

  @Test func closingUnderOtherThreadsIsSafe() async {
    await #expect(processExitsWith: .success) {
      let before = try descriptors("bpf-map").count
      for _ in 0..<50 {
        let map = try BPFMap(
          creating: .array,
          name: "shared",
          keySize: 4,
          valueSize: 8,
          maxEntries: 1
        )
        let id = try map.info.id
        DispatchQueue.concurrentPerform(iterations: 4) { thread in
          for round in 0..<20 {
            if thread == 0, round == 10 { map.close() }
            do throws(BPFError) {
              #expect(try map.info.id == id)
            } catch {
              #expect(error.kind == .wrongState, "\(error)")
            }
          }
        }
      }
      #expect(try descriptors("bpf-map").count == before)
    }
  }
}

/// The elements of a map with keys of 4 and values of 8 bytes.
private func elements() throws -> MapBytes {
  let map = try BPFMap(creating: .hash, name: "bytes", keySize: 4, valueSize: 8, maxEntries: 1)
  return try MapBytes(MapHandle(map, for: "test"), for: "test")
}
