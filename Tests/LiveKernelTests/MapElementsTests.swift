// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import TestSupport
import Testing

/// The maps and types that the typed maps accept.
@Suite(.liveKernel) struct MapElementsTests {
  private typealias Place = MapsOfAllKinds.Place
  private typealias Tally = MapsOfAllKinds.Tally

  private func expect(
    _ kind: BPFError.Kind,
    _ open: () throws(BPFError) -> Void,
    at location: SourceLocation = #_sourceLocation
  ) {
    let error = #expect(throws: BPFError.self, sourceLocation: location) { try open() }
    #expect(error?.kind == kind, "\(String(describing: error))", sourceLocation: location)
  }

  @Test func aMapOfAnotherTypeIsRefused() throws {
    let object = try MapsOfAllKinds.load().object
    let hash = try object.map("tallies"), array = try object.map("slots")
    let perCPUHash = try object.map("per_cpu_numbers"),
      perCPUArray = try object.map("per_cpu_slots")
    for map in [array, perCPUHash, perCPUArray, try object.map("events")] {
      expect(.wrongType) { () throws(BPFError) in _ = try BPFHashMap<UInt32, UInt32>(map) }
    }
    for map in [array, hash, perCPUArray] {
      expect(.wrongType) { () throws(BPFError) in _ = try BPFPerCPUHashMap<UInt32, UInt32>(map) }
    }
    for map in [hash, perCPUHash, perCPUArray] {
      expect(.wrongType) { () throws(BPFError) in _ = try BPFArrayMap<UInt32>(map) }
      expect(.wrongType) { () throws(BPFError) in _ = try BPFMappedArray<UInt32>(map) }
    }
    for map in [hash, array, perCPUHash] {
      expect(.wrongType) { () throws(BPFError) in _ = try BPFPerCPUArrayMap<UInt32>(map) }
    }
    // This map cannot be mapped.
    expect(.wrongType) { () throws(BPFError) in _ = try BPFMappedArray<Tally>(array) }
    expect(.wrongType) { () throws(BPFError) in _ = try RingBuffer<UInt32>(hash) }
  }

  @Test func aTypeThatIsNotTheMapsIsRefused() throws {
    struct Moved: MapValue {
      var column: UInt32
      var row: UInt8
    }
    let map = try MapsOfAllKinds.load().object.map("tallies")
    // By the object's types, and by the kernel's.
    for map in [map, try BPFMap(id: map.info.id)] {
      _ = try BPFHashMap<Place, Tally>(map)
      expect(.layoutMismatch) { () throws(BPFError) in _ = try BPFHashMap<Moved, Tally>(map) }
      expect(.layoutMismatch) { () throws(BPFError) in _ = try BPFHashMap<UInt64, Tally>(map) }
      expect(.layoutMismatch) { () throws(BPFError) in _ = try BPFHashMap<Place, Place>(map) }
    }
  }

  @Test func aLayoutOfAnotherSizeThanTheMapsIsRefused() throws {
    let object = try MapsOfAllKinds.load().object
    let layout = try object.layout(ofMap: "mapped_slots")
    let map = try object.map("slots")
    expect(.layoutMismatch) { () throws(BPFError) in
      _ = try BPFArrayMap<Place>(map, layout: layout)
    }
  }

  @Test func errorsNameThePartThatDiffers() throws {
    let map = try MapsOfAllKinds.load().object.map("tallies")
    let key = #expect(throws: BPFError.self) { try BPFHashMap<UInt32, Tally>(map) }
    #expect(key?.attempt == "use Swift type 'UInt32' as the key")
    let value = #expect(throws: BPFError.self) { try BPFHashMap<Place, UInt32>(map) }
    #expect(value?.attempt == "use Swift type 'UInt32' as the value")
  }

  @Test func aMapThatUserSpaceCanOnlyRead() throws {
    let maps = try MapsOfAllKinds.load().maps
    let numbers = try maps.readOnlyNumbers
    #expect(try numbers.value(for: 1) == nil)
    let set = #expect(throws: BPFError.self) { try numbers.setValue(2, for: 1) }
    let remove = #expect(throws: BPFError.self) { try numbers.removeValue(for: 1) }
    for error in [set, remove] {
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice.contains("declare it without BPF_F_RDONLY") == true)
    }
  }

  @Test func aMapThatUserSpaceCanOnlyWrite() throws {
    let object = try BPFObject(.maps)
    try object.setMapFlags([.wronly], of: "slots")
    try object.setMapFlags([.wronly, .mmapable], of: "mapped_words")
    try object.setMapFlags([.wronly], of: "tallies")
    try object.load()
    let slots = try BPFArrayMap<Tally>(object.map("slots"))
    try slots.setValue(Tally(count: 3), at: 1)
    let tallies = try BPFHashMap<Place, Tally>(object.map("tallies"))
    let errors = [
      #expect(throws: BPFError.self) { try slots.value(at: 1) },
      #expect(throws: BPFError.self) { try tallies.value(for: Place(row: 1)) },
      #expect(throws: BPFError.self) { try tallies.keys() },
      #expect(throws: BPFError.self) { try BPFMappedArray<UInt32>(object.map("mapped_words")) },
    ]
    for error in errors {
      #expect(error?.kind == .permissionDenied, "\(String(describing: error))")
      #expect(error?.advice.contains("BPF_F_WRONLY") == true, "\(String(describing: error))")
    }
  }

  @Test func aRingBufferThatIsOpenedForReadingOnly() throws {
    let events = try MapsOfAllKinds.load().object.map("events")
    let map = try BPFMap(id: events.info.id, readOnly: true)
    let error = #expect(throws: BPFError.self) { try BPFRingBuffer(map) }
    #expect(error?.kind == .permissionDenied)
    #expect(error?.advice.contains("readOnly: true") == true, "\(String(describing: error))")
  }

  @Test func anArrayThatTheKernelDoesNotMapForWriting() throws {
    let object = try MapsOfAllKinds.load()
    let slots: BPFArrayMap<UInt32> = try object.maps.constantSlots
    try slots.setValue(3, at: 2)
    #expect(try slots.value(at: 2) == 3)
    let map = try object.object.map("constant_slots")
    let error = #expect(throws: BPFError.self) { try BPFMappedArray<UInt32>(map) }
    #expect(error?.advice.contains("BPF_F_RDONLY_PROG | BPF_F_MMAPABLE") == true)
    #expect(error?.advice.contains("use BPFArrayMap") == true)
  }

  @Test func paddingOfAKeyIsZero() throws {
    let map = try BPFHashMap<Place, Tally>(MapsOfAllKinds.load().object.map("tallies"))
    var key = Place(row: 5, column: 6)
    withUnsafeMutableBytes(of: &key) { $0[1] = 0xFF }
    try map.setValue(Tally(count: 3), for: key)
    #expect(try map.value(for: Place(row: 5, column: 6))?.count == 3)
  }

  @Test func aRecordThatIsTooShortIsAnError() throws {
    let maps = try MapsOfAllKinds.load()
    guard case .success = try maps.programs.addEverywhere.loaded().run(nil, size: 0) else {
      Issue.record("the program does not run")
      return
    }
    // Its records have four bytes.
    let records = try RingBuffer<UInt64>(maps.object.map("raw_events"))
    expect(.layoutMismatch) { () throws(BPFError) in _ = try records.takeRecords() }
  }

  @Test func aRecordThatIsTooShortLosesNoOthers() async throws {
    let maps = try MapsOfAllKinds.load()
    let program = try maps.programs.recordsOfTwoSizes.loaded()
    let records = try RingBuffer<UInt64>(maps.object.map("raw_events"))
    _ = program.run(nil, size: 0)
    #expect(try records.takeRecords() == [1, 2])
    expect(.layoutMismatch) { () throws(BPFError) in _ = try records.takeRecords() }
    #expect(try records.takeRecords(atMost: 1) == [4])
    #expect(try records.takeRecords() == [5])
    #expect(try records.takeRecords().isEmpty)

    _ = program.run(nil, size: 0)
    var iterator = records.makeAsyncIterator()
    #expect(try await iterator.next() == 1)
    #expect(try await iterator.next() == 2)
    await #expect(throws: BPFError.self) { try await iterator.next() }
    #expect(try await iterator.next() == 4)
    #expect(try await iterator.next() == 5)
  }

  /// Other threads write records faster than this one reads them.
  @Test func oneCallReadsNoMoreThanTheBufferContains() throws {
    let maps = try MapsOfAllKinds.load()
    let flood = try maps.programs.flood.loaded()
    let running = Box(3)
    let writers = try (0..<running.get()).map { _ in
      try TestThread {
        defer { running.change { $0 -= 1 } }
        for _ in 0..<300 { _ = flood.run(nil, size: 0) }
      }
    }
    let records = try maps.maps.rawEvents
    while running.get() > 0 {
      // A record occupies 16 bytes.
      #expect(try records.takeRecords().count <= 64 * 1024 / 16)
    }
    for writer in writers { try writer.join() }
  }
}
