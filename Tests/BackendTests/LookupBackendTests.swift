// SPDX-License-Identifier: Apache-2.0
import CTestSupport
@_spi(Benchmarks) import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// The two access paths of ``LookupBackend``: how they differ, and that they read and write the same.
@Suite(.liveKernel) struct LookupBackendTests {
  @Test(arguments: [1, 2, 7, 24, 1008, 1015, 1016, 2023, 8001])
  func bothAccessPathsReachTheSameBytes(_ size: Int) throws {
    let map = try loadedMap("sized_\(size)", of: .sizes)
    let program = try LookupBackend(map, accessPath: .program)
    let pidfd =
      LiveKernel.mayOpenThreadPidfds ? try LookupBackend(map, accessPath: .pidfd) : program
    #expect(try bytes(program) == nil)

    // All words differ.
    var expected = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ $0 / 251 &+ 1) }
    try expected.withUnsafeBytes { try pidfd.store(.callingThread, [0..<size], of: $0) }
    #expect(try bytes(program) == expected)

    // Single bytes, and then all ranges with odd bounds.
    let inverted = expected.map { ~$0 }
    for ranges in [
      stride(from: 0, to: size, by: 3).map { $0..<$0 + 1 }, [min(1, size - 1)..<max(1, size - 1)],
    ] {
      for range in ranges { expected.replaceSubrange(range, with: inverted[range]) }
      try inverted.withUnsafeBytes { try program.store(.callingThread, ranges, of: $0) }
      #expect(try bytes(pidfd) == expected)
      #expect(try bytes(program) == expected)
    }

    #expect(try program.remove(.callingThread))
    #expect(try bytes(pidfd) == nil)
    #expect(try !program.remove(.callingThread))
    try inverted.withUnsafeBytes { try program.store(.callingThread, [0..<size], of: $0) }
    #expect(try bytes(pidfd) == inverted)
    #expect(try pidfd.remove(.callingThread))
    #expect(try bytes(program) == nil)
  }

  @Test(arguments: LookupAccessPath.allCases)
  func rangesOutsideOfTheValueAreRefused(_ accessPath: LookupAccessPath) throws {
    if accessPath == .pidfd { try LiveKernel.skipCase(unless: LiveKernel.mayOpenThreadPidfds) }
    let backend = try LookupBackend(loadedMap("sized_24", of: .sizes), accessPath: accessPath)
    let wide = [UInt8](repeating: 1, count: 32)
    for range in [0..<33, -8..<8, 24..<32, 20..<28] {
      let error = #expect(throws: BPFError.self) {
        try wide.withUnsafeBytes { try backend.store(.callingThread, [0..<8, range], of: $0) }
      }
      #expect(error?.kind == .invalidArgument)
    }
    let error = #expect(throws: BPFError.self) {
      try wide[..<8].withUnsafeBytes { try backend.store(.callingThread, [0..<16], of: $0) }
    }
    #expect(error?.kind == .invalidArgument)
    #expect(try bytes(backend) == nil)
  }

  @Test func accessByProgramIsTheDefault() throws {
    let map = try loadedMap("tags", of: .values)
    let backend = try LookupBackend(map)
    #expect(backend.choice.explanation.contains("with BPF programs that run in the thread"))
    let other = try LookupBackend(map, accessPath: .pidfd)
    #expect(other.choice.explanation.contains("by its pidfd"))
  }

  @Test func accessByProgramUsesNoDescriptorPerThread() async {
    await #expect(processExitsWith: .success) {
      let map = try loadedMap("tags", of: .values)
      // Opens everything that is opened once for the process.
      _ = try LookupBackend(map, accessPath: .program)
      let before = try libraryDescriptors()
      do {
        let backend = try LookupBackend(map, accessPath: .program)
        let storage = try TaskLocalStorage<Tag>(backend: backend)
        #expect(try libraryDescriptors() == before + 3)
        let threads = try (0..<10).map { _ in
          try TestThread {
            try storage.withCurrent { $0.requestID = 1 }
            #expect(try libraryDescriptors() == before + 3)
          }
        }
        for thread in threads { try thread.join() }
        let mine = try takeAllDescriptors()
        try TestThread {
          try storage.withCurrent { $0.requestID = 2 }
          #expect(try storage.withCurrent { $0.requestID } == 2)
          #expect(try storage.removeValue(of: .callingThread))
        }.join()
        for descriptor in mine { try descriptor.close() }
      }
      #expect(try libraryDescriptors() == before)
    }
  }

  @Test(.threadPidfds) func frozenMapsAreNotWritten() throws {
    let map = try loadedMap("tags", of: .values)
    #expect(try map.withDescriptor { test_freeze_map($0.rawValue) } == 0)
    #expect(try !map.info.isWritable)
    let refusal = #expect(throws: BPFError.self) { try LookupBackend(map, accessPath: .program) }
    #expect(refusal?.kind == .permissionDenied && refusal?.advice.contains("frozen") == true)

    let storage = try TaskLocalStorage<Tag>(map: map, allowing: [.lookup])
    #expect(storage.backend.explanation.contains("frozen"))
    #expect(try storage.withCurrent { $0.requestID } == 0)
    let error = #expect(throws: BPFError.self) { try storage.withCurrent { $0.requestID = 1 } }
    #expect(error?.errno == .notPermitted && error?.advice.contains("frozen") == true)
    #expect(try storage.value(of: .callingThread) == nil)
  }

  @Test(.threadPidfds) func withoutRights() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.values, allowing: [.lookup])
      let layout = try object.layout(ofMap: "tags")
      try object.load()
      let map = try object.map("tags")
      let earlier = try loadedMap("tags", of: .values)
      let loaded = try TaskLocalStorage<Tag>(backend: LookupBackend(earlier, accessPath: .program))
      try #require(test_drop_rights() == 0)

      let error = #expect(throws: BPFError.self) {
        try LookupBackend(map, layout: layout, accessPath: .program)
      }
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice.contains("CAP_BPF") == true)

      let backend = try LookupBackend(map, layout: layout)
      #expect(backend.choice.explanation.contains("cannot be loaded (Operation not permitted)"))
      let storage = try TaskLocalStorage<Tag>(backend: backend)
      try TestThread {
        try storage.withCurrent { $0.requestID = 3 }
        #expect(try storage.withCurrent { $0.requestID } == 3)
      }.join()

      // Programs that were loaded before run: there is no descriptor left for a pidfd.
      let mine = try takeAllDescriptors()
      try TestThread {
        try loaded.withCurrent { $0.requestID = 4 }
        #expect(try loaded.withCurrent { $0.requestID } == 4)
      }.join()
      _ = try LookupBackend(earlier, layout: layout, accessPath: .program)
      for descriptor in mine { try descriptor.close() }
    }
  }

  @Test func threadsThatInterruptEachOtherFindTheirValues() throws {
    // A kernel with preemption, before 6.2, finds no value if another thread on the same processor
    // was interrupted inside of the same function.
    let backend = try LookupBackend(loadedMap("tags", of: .values), accessPath: .program)
    let storage = try TaskLocalStorage<Tag>(backend: backend)
    let threads = try (0..<4).map { _ in
      try TestThread {
        try #require(test_stay_on_first_processor() == 0)
        for round in 1...10_000 {
          try storage.withCurrent { $0.requestID = UInt64(round) }
          let found = try storage.withCurrent { $0.requestID }
          try #require(found == UInt64(round))
          try #require(try storage.removeValue(of: .callingThread))
        }
      }
    }
    for thread in threads { try thread.join() }
  }

  private func bytes(_ backend: LookupBackend) throws -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xaa, count: backend.valueSize)
    let found = try bytes.withUnsafeMutableBytes { try backend.load(.callingThread, into: $0) }
    return found ? bytes : nil
  }
}

private func loadedMap(_ name: String, of image: BPFObjectImage) throws -> BPFMap {
  let object = try BPFObject(image, allowing: [.lookup])
  try object.load()
  return try object.map(name)
}
