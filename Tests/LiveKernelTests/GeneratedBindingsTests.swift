// SPDX-License-Identifier: Apache-2.0
import Foundation
import LibBPF
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct GeneratedBindingsTests {
  private func loaded(step: UInt32 = 1) throws -> MapsOfAllKinds {
    try MapsOfAllKinds.open { $0.globals.step = step }.load()
  }

  private func run(_ program: BPFObject.Program) throws {
    #expect(try program.loaded().run(nil, size: 0).get() == 0)
  }

  @Test func enumerationsArePrintedByName() throws {
    var side = try MapsOfAllKinds.open().globals.last.side
    #expect("\(side)" == "right")
    side.rawValue = 9
    #expect("\(side)" == "Side(rawValue: 9)")
  }

  @Test func globalsHaveTheirInitialValuesAndAreSharedAfterLoading() throws {
    var opened = try MapsOfAllKinds.open()
    #expect(opened.globals.step == 1 && opened.globals.last.side == .right)
    opened.globals.step = 5
    opened.globals.runs = 100
    let maps = try opened.load()
    #expect(maps.globals.step == 5 && maps.globals.runs == 100 && maps.globals.last.side == .right)
    try run(maps.programs.addEverywhere)
    #expect(maps.globals.runs == 105)
    #expect(maps.globals.last.side == .left && maps.globals.last.number == 7)
    maps.globals.runs = 3
    try run(maps.programs.addEverywhere)
    #expect(maps.globals.runs == 8)
  }

  @Test func anErrorOfSettingAGlobalIsThrownByLoad() throws {
    let error = #expect(throws: BPFError.self) {
      _ = try MapsOfAllKinds.open {
        $0.object.close()
        $0.globals.step = 5
      }.load()
    }
    #expect(error?.kind == .wrongState && error?.attempt == "set global 'step'")
  }

  @Test func globalsOutliveTheObject() throws {
    let maps = try loaded()
    try run(maps.programs.addEverywhere)
    maps.object.close()
    #expect(maps.globals.runs == 1)
  }

  @Test func globalsKeepTheProgramsAttached() throws {
    func load() throws -> PinCounts.Globals {
      try PinCounts.open { $0.globals.targetTGID = getpid() }.load().globals
    }
    let globals = try load()
    // A link whose last descriptor is closed is detached immediately.
    for _ in 0..<3 {
      let before = globals.calls
      for _ in 0..<100 { _ = getppid() }
      #expect(globals.calls > before)
    }
  }

  @Test func aHashMapHasTypedKeysAndValues() throws {
    let maps = try loaded(step: 2)
    let place = MapsOfAllKinds.Place(row: 1, column: 2)
    #expect(try maps.maps.tallies.value(for: place) == nil)
    try run(maps.programs.addEverywhere)
    try run(maps.programs.addEverywhere)
    let tally = try #require(try maps.maps.tallies.value(for: place))
    #expect(tally.count == 4 && tally.side == .left && tally.number == 7)
    #expect(tally.bytes[0] == 7 && tally.bytes[1] == 0)

    let other = MapsOfAllKinds.Place(row: 9, column: 9)
    #expect(try !maps.maps.tallies.updateValue(.init(count: 1), for: other))
    #expect(try maps.maps.tallies.insert(.init(count: 1, side: .right), for: other))
    #expect(try !maps.maps.tallies.insert(.init(count: 2), for: other))
    try maps.maps.tallies.setValue(.init(count: 3), for: other)
    let contents = try maps.maps.tallies.contents()
    #expect(Set(contents.map(\.key.row)) == [1, 9])
    #expect(contents.first { $0.key.row == 9 }?.value.count == 3)
    #expect(try maps.maps.tallies.updateValue(.init(count: 4), for: other))
    #expect(try maps.maps.tallies.value(for: other)?.count == 4)
    for row in 20..<22 { try maps.maps.tallies.setValue(.init(), for: .init(row: UInt8(row))) }
    #expect {
      try maps.maps.tallies.setValue(.init(), for: .init(row: 30))
    } throws: {
      "\($0)".contains("max_entries")
    }
    #expect(try maps.maps.tallies.removeValue(for: other))
    #expect(try !maps.maps.tallies.removeValue(for: other))
    #expect(try maps.maps.tallies.keys().count == 3)
  }

  @Test func keysThatMayNotBeReadAreAnError() throws {
    let maps = try MapsOfAllKinds.open {
      try $0.object.setMapFlags(.wronly, of: "tallies")
    }.load()
    try maps.maps.tallies.setValue(.init(count: 1), for: .init(row: 1, column: 2))
    let error = #expect(throws: BPFError.self) { try maps.maps.tallies.keys() }
    #expect(error?.errno == .notPermitted && error?.attempt == "find the keys")
  }

  @Test func contentsOfAHashMapIncludeKeysWhosePaddingIsNotZero() throws {
    let maps = try loaded()
    let attempt = "add keys with padding"
    let elements = try MapBytes(
      MapHandle(maps.object.map("tallies"), for: attempt),
      for: attempt
    )
    for padding: UInt8 in [0, 1, 2] {
      try elements.set(
        [10 + padding] + [UInt8](repeating: 0, count: 15),
        of: [5, padding, 0, padding, 6, 0, 0, 0],
        .always
      )
    }
    let contents = try maps.maps.tallies.contents()
    #expect(contents.allSatisfy { $0.key.row == 5 && $0.key.column == 6 })
    #expect(contents.map(\.value.count).sorted() == [10, 11, 12])
    let place = MapsOfAllKinds.Place(row: 5, column: 6)
    #expect(try maps.maps.tallies.value(for: place)?.count == 10)
    #expect(try maps.maps.tallies.removeValue(for: place))
    #expect(try maps.maps.tallies.value(for: place) == nil)
    #expect(try maps.maps.tallies.contents().count == 2)
  }

  @Test func elementsOfFewerThanEightBytesAreMapped() throws {
    let maps = try loaded()
    let words = try maps.maps.mappedWords
    for index in words.indices { words[index] = UInt32(index) + 5 }
    let elements = try BPFArrayMap<UInt32>(maps.object.map("mapped_words"))
    #expect(try elements.indices.map { try elements.value(at: $0) } == [5, 6, 7])
  }

  @Test func signedBitFieldsAreExtended() throws {
    let maps = try loaded()
    func all(_ signs: MapsOfAllKinds.Signs) -> [Int64] {
      [Int64(signs.low), Int64(signs.between), signs.wide, Int64(signs.last)]
    }
    #expect(all(maps.globals.signs) == [-1, 33, -5, -8])
    maps.globals.signs.low = 3
    maps.globals.signs.wide = -(1 << 39)
    #expect(all(maps.globals.signs) == [3, 33, -(1 << 39), -8])
    maps.globals.signs.between = 63
    maps.globals.signs.last = 7
    #expect(all(maps.globals.signs) == [3, 63, -(1 << 39), 7])
  }

  @Test func perCPUMapsHaveAValueForEachProcessor() throws {
    let maps = try loaded(step: 2)
    try run(maps.programs.addEverywhere)
    let numbers = try #require(try maps.maps.perCPUNumbers.values(for: 1))
    #expect(try numbers.count == maps.maps.perCPUNumbers.processorCount && numbers.contains(3))
    try maps.maps.perCPUNumbers.setValues(numbers.indices.map { UInt32($0) + 10 }, for: 2)
    #expect(try maps.maps.perCPUNumbers.values(for: 2) == numbers.indices.map { UInt32($0) + 10 })
    #expect(try Set(maps.maps.perCPUNumbers.keys()) == [1, 2])
    #expect(try maps.maps.perCPUNumbers.removeValues(for: 2))
    #expect(try maps.maps.perCPUNumbers.values(for: 2) == nil)

    #expect(try maps.maps.perCPUSlots.count == 3)
    #expect(try maps.maps.perCPUSlots.values(at: 1).reduce(0, +) == 2)
    try maps.maps.perCPUSlots.setValues(numbers.map { _ in 4 }, at: 1)
    #expect(try maps.maps.perCPUSlots.values(at: 1).allSatisfy { $0 == 4 })
  }

  @Test func arraysAreReadBySystemCallsOrMapped() throws {
    let maps = try loaded(step: 2)
    try maps.maps.slots.setValue(.init(count: 40), at: 1)
    try maps.maps.mappedSlots.withElement(at: 1) { $0.row = 8 }
    try maps.maps.mappedSlots.withElement(at: 2) { $0.store(.init(row: 3, column: 4)) }
    try run(maps.programs.addEverywhere)
    #expect(try maps.maps.slots.value(at: 1).count == 42 && maps.maps.slots.count == 3)
    #expect(try maps.maps.mappedSlots.withElement(at: 1) { $0.column } == 2)
    #expect(try maps.maps.mappedSlots[1].row == 8 && maps.maps.mappedSlots[2].column == 4)
    #expect(try maps.maps.mappedSlots[0].column == 0 && maps.maps.mappedSlots.count == 3)
  }

  @Test func ringBuffersAreReadAtOnceOrAsTheyFill() async throws {
    let maps = try loaded(step: 3)
    for _ in 0..<3 { try run(maps.programs.addEverywhere) }
    let first = try maps.maps.events.takeRecords(atMost: 2)
    #expect(first.map(\.number) == [0, 3] && first.allSatisfy { $0.low == 5 && $0.high == 6 })
    #expect(try maps.maps.rawEvents.takeRecords() == [[UInt8]](repeating: [0, 0, 0, 0], count: 3))

    let events = try maps.maps.events
    let reader = Task {
      var numbers: [UInt64] = []
      for try await event in events {
        numbers.append(event.number)
        if numbers.count == 3 { break }
      }
      return numbers
    }
    for _ in 0..<2 {
      await Task.yield()
      try run(maps.programs.addEverywhere)
    }
    #expect(try await reader.value == [6, 9, 12])
  }

  @Test func twoReadersOfOneRingBufferReadEachRecordOnce() throws {
    let maps = try loaded()
    let isOver = Box(false), read = Box(0), numbers = Box<[UInt64]>([])
    let readers = try (0..<2).map { _ in
      let events = try BPFRingBuffer(maps.object.map("events"))
      return try TestThread {
        while true {
          let wasOver = isOver.get()
          let records = try events.takeRecords(atMost: 3)
          if records.isEmpty && wasOver { return }
          for record in records {
            try #require(record.count == MemoryLayout<MapsOfAllKinds.Event>.size)
            numbers.change { $0.append(record.withUnsafeBytes { $0.load(as: UInt64.self) }) }
          }
          read.change { $0 += records.count }
        }
      }
    }
    for _ in 0..<60_000 {
      try run(maps.programs.addEverywhere)
      while read.get() + 1_000 < Int(maps.globals.runs) { sched_yield() }
    }
    isOver.set(true)
    for reader in readers { try reader.join() }
    let areComplete = numbers.get().sorted() == Array(0..<60_000)
    #expect(areComplete)
  }

  @Test func aPositionThatAnotherReaderMovedIsAnError() throws {
    let maps = try loaded()
    // The number is read as the header of a record.
    maps.globals.runs = 0x0fff_ffff
    try run(maps.programs.addEverywhere)
    let map = try maps.object.map("events")
    try map.withDescriptor { descriptor in
      let size = sysconf(CInt(_SC_PAGESIZE))
      let page = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)
      let position = try #require(page != MAP_FAILED ? page : nil)
      defer { munmap(position, size) }
      position.storeBytes(of: 8, as: Int.self)
    }
    let error = #expect(throws: BPFError.self) { try BPFRingBuffer(map).takeRecords() }
    #expect(error?.errno == .badMessage && error?.advice.contains("no other process") == true)
  }

  @Test func aReaderThatCannotWaitGetsAnError() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let maps = try MapsOfAllKinds.load()
      let events = try BPFRingBuffer(maps.object.map("events"))
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit)
      let error = await #expect(throws: BPFError.self) {
        // No memory for the stack of a thread.
        var none = rlimit(rlim_cur: 1 << 20, rlim_max: limit.rlim_max)
        setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &none)
        defer { setrlimit(__rlimit_resource_t(RLIMIT_AS.rawValue), &limit) }
        for try await _ in events {}
      }
      #expect(error?.attempt == "start a thread that waits")
    }
  }

  @Test func aCancelledReaderEnds() async throws {
    let maps = try loaded()
    let events = try maps.maps.events
    let reader = Task {
      var count = 0
      for try await _ in events { count += 1 }
      return count
    }
    await Task.yield()
    reader.cancel()
    #expect(try await reader.value == 0)
  }

  @Test func ringBuffersLeaveNothingBehind() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let maps = try MapsOfAllKinds.load()
      func mappings() throws -> Int {
        try String(contentsOfFile: "/proc/self/maps", encoding: .utf8).split(separator: "\n")
          .count { $0.contains("bpf-map") }
      }
      func waitForRecords() async throws {
        let events = try BPFRingBuffer(maps.object.map("events"))
        let reader = Task { for try await _ in events {} }
        for _ in 0..<10 { await Task.yield() }
        reader.cancel()
        try await reader.value
      }
      try await waitForRecords()
      let before = (try descriptors("socket").count, try mappings())
      for _ in 0..<50 { try await waitForRecords() }
      // The waiting threads end by themselves, and release their resources.
      while try (descriptors("socket").count, mappings()) > before { sched_yield() }
    }
  }

  @Test func anObjectWithUnlikelyCodeLoads() throws {
    try run(try loaded().programs.rarely)
  }

  @Test func aMapThatWasNotCreatedThrowsWhereItIsUsed() throws {
    let maps = try MapsOfAllKinds.open {
      for name in ["slots", "raw_events", "others"] {
        try $0.object.setAutocreate(false, map: name)
      }
      for name in ["add_everywhere", "flood", "records_of_two_sizes"] {
        try $0.object.program(name).setAutoload(false)
      }
    }.load()
    try run(maps.programs.rarely)
    #expect(try maps.maps.perCPUSlots.count == 3)
    func check<Map>(_ name: String, _ map: () throws(BPFError) -> Map) {
      let error = #expect(throws: BPFError.self) { _ = try map() }
      #expect(error?.kind == .wrongState && error?.attempt == "use map '\(name)'")
      #expect("\(error, default: "")".contains("setAutocreate(false, map:)"))
    }
    check("slots") { () throws(BPFError) in try maps.maps.slots }
    check("raw_events") { () throws(BPFError) in try maps.maps.rawEvents }
    check("others") { () throws(BPFError) in try maps.maps.others }
  }

  @Test func addressesNeedNoTypeNamedLong() throws {
    let object = try Pointers.load()
    try run(object.programs.addConnection)
    let connection = try #require(try object.maps.connections.value(for: 1))
    #expect(connection.socket == 0x1122_3344_5566_7788 && connection.count == 3)
  }

  @Test func sectionsThatCannotBeMappedHaveInitialValues() throws {
    let opened = try Sections.open {
      $0.globals.step = 10
      $0.globals.guarded = 100
      #expect($0.globals.counted == 6)
    }
    // libbpf 1.6 and later would map it.
    #expect(try opened.object.mapFlags(of: ".data.hidden").isDisjoint(with: .mmapable))
    #expect(try opened.object.mapFlags(of: ".data").contains(.mmapable))
    let object: Sections
    do throws(BPFError) {
      object = try opened.load()
    } catch {
      // Linux 6.1 rejects it, and test runs of other types need packets.
      guard "\(error)".contains("sleepable progs cannot use bpf_spin_lock") else { throw error }
      try Test.cancel("programs of type syscall may not use spin locks here")
    }
    #expect(object.globals.total == 40 && object.globals.twice == 1)
    try run(object.programs.addTotal)
    #expect(object.globals.total == 40 + 110 + 16 + 10 + 1 && object.globals.twice == 3)
  }

  @Test func unlikelyNamesMeanTheRightTypes() throws {
    let object = try UnlikelyNames.open { $0.globals.values[3] = 1 }.load()
    try run(object.programs.changeValues)
    let record: UnlikelyNames.Record = object.globals.record
    #expect(record.first.size == 3 && record.layout == 4)
    let line: UnlikelyNames.Line = object.globals.line
    #expect(line.start.y == 5 && line.point.w == 6 && line.event == .thick)
    #expect(line.point.point.depth == 7 && line.point.line.depth == 8)
    #expect(object.globals.outermost.outermost.number == 9)
    #expect(object.globals.place == .rawValue_ && object.globals.place.rawValue == 1)
    #expect(object.globals.values[3] == 11)
    let event = try #require(try object.maps.ringBuffer.takeRecords().first)
    #expect(event.kind == 1 && event.event.number == 2)
    let sockets: BPFMap = try object.maps.sockets
    #expect(sockets.name == "sockets")
  }

  @Test func typedefsAreTypeAliases() throws {
    let count: MapsOfAllKinds.RunCount = try loaded().globals.runs
    #expect(count == 0 && MapsOfAllKinds.RunCount.self == UInt64.self)
  }

  @Test func programsAreAttachedByName() throws {
    let counters = try TaskCounters.open().load(attaching: false)
    let program = counters.programs.countCalls
    #expect(!program.isAttached)
    try program.attach()
    #expect(program.isAttached && counters.object.attachedPrograms == [program.name])
    program.detach()
    #expect(!program.isAttached)
  }

  @Test func anObjectWithoutHooksLoads() throws {
    let maps = try loaded()
    #expect(maps.object.attachedPrograms.isEmpty)
  }
}
