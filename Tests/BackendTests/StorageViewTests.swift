// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import MmapStorage
import MmapStorageTesting
import TestSupport
import Testing

private struct RunPhase: RawRepresentable, MapScalar, Equatable {
  var rawValue: UInt32
  static let running = RunPhase(rawValue: 2)
}

private struct Corner: MapValue {
  var x: Int32
  var y: Int32
}

private struct Everything: MapValue {
  var sequence: UInt64
  var u8: UInt8
  var flag: Bool
  var i16: Int16
  var phase: RunPhase
  var d: Double
  var f: Float
  var start: Corner
  var reserved: UInt32
  var name: InlineArray<16, Int8>
  var grid: InlineArray<2, InlineArray<3, UInt16>>
  var points: InlineArray<2, Corner>
  let fixed: UInt32
}

/// Swift omits the padding after the second element.
private struct Tuples: MapValue {
  struct In3: MapValue {
    var x: UInt32
    var y: UInt8
  }
  var p: (In3, In3)
}

private struct Bytes: MapValue {
  var bytes: (UInt8, UInt8)
}

private enum Choice: UInt8, MapValue { case one, two }

private struct Switches: MapValue {
  var on: Bool
  var rest: InlineArray<3, Bool>
}

/// 44 bytes: a copy in the largest pieces, with an overlapping last one, would tear a field.
private struct Odd: MapValue {
  var words: InlineArray<5, UInt64>
  var last: UInt32
}

private struct Pair: MapValue {
  var first: UInt64
  var second: UInt64
  var rest: InlineArray<6, UInt64>
}

/// The behaviour of a view is the same with all backends.
@Suite struct StorageViewTests {
  @Test(arguments: BackendUnderTest.allCases)
  func readsZeroFirst(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { view in
      #expect(view.sequence == 0)
      let flag = view.flag
      #expect(flag == false)
      let cell = view.grid[1][2]
      #expect(cell == 0)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func writesOfTheThreadReachTheProgramAndBack(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { view in
      view.sequence = 0x0102_0304_0506_0708
      view.u8 = 0xfe
      view.flag = true
      view.i16 = -2
      view.phase = .running
      view.d = 1.5
      view.f = -0.25
      view.start.x = -7
      view.start.y += 9
      view.grid[1][2] = 77
      view.points[1].y = 5
      for text in ["longer than it", "worker"] {
        let fits = view.name.replaceString(with: text)
        #expect(fits)
      }
      let overflows = view.name.replaceString(with: "sixteen bytes!!!")
      #expect(!overflows)
    }
    try fixture.program(on: .current, create: false) { view in
      #expect(view.sequence == 0x0102_0304_0506_0708)
      #expect(view.u8 == 0xfe)
      let flag = view.flag
      #expect(flag)
      #expect(view.i16 == -2)
      #expect(view.phase == .running)
      #expect(view.d == 1.5)
      #expect(view.f == -0.25)
      #expect(view[\.start.x] == -7)
      let y = view.start.y
      #expect(y == 9)
      let cells = (view.grid[1][2], view.grid[0][2])
      #expect(cells == (77, 0))
      let inArray = view.points[1].y
      #expect(inArray == 5)
      let name = view.name.copyString()
      #expect(name == "worker")
      for index in 6..<view.name.count {
        let byte = view.name[index]
        #expect(byte == 0)
      }
      #expect(view.load().name.copyString() == "worker")
      view.points[0].x = 11
      view.sequence += 1
    }
    #expect(try storage.withCurrent { $0.points[0].x } == 11)
    #expect(try storage.withCurrent { $0.sequence } == 0x0102_0304_0506_0709)
    let bytes = try #require(try fixture.bytes())
    #expect(bytes[0..<8] == [9, 7, 6, 5, 4, 3, 2, 1])
    #expect(bytes[9] == 1)
  }

  @Test func theTextOfACopiedArray() {
    #expect(([97, 98, 99, 100] as InlineArray<4, CChar>).copyString() == "abcd")
    #expect(([0xff, 97, 0, 98] as InlineArray<4, UInt8>).copyString() == "\u{FFFD}a")
    #expect(([] as InlineArray<0, CChar>).copyString() == "")
  }

  @Test func aWriteIsInTheStorageAtOnceWithADirectBackend() throws {
    let fixture = try BackendUnderTest.fakeDirect.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { (view) throws(BPFError) in
      view.u8 = 3
      let bytes = try fixture.bytes()
      #expect(bytes?[8] == 3)
      try fixture.program { $0.u8 = 4 }
      #expect(view.u8 == 4)
    }
  }

  @Test func anyByteButZeroIsTrue() throws {
    let fake = try FakeBackend(layoutOf: Everything.self)
    let storage = try TaskLocalStorage<Everything>(backend: fake)
    fake.write([0x80], at: 9, into: .current)
    #expect(try storage.withCurrent { $0.flag })
  }

  @Test func aCopyHasNoBoolOtherThanTrueAndFalse() throws {
    let fake = try FakeBackend(layoutOf: Switches.self)
    let storage = try TaskLocalStorage<Switches>(backend: fake)
    fake.write([0x80, 2, 0, 0xff], at: 0, into: .current)
    var copy = try storage.withCurrent { $0.load() }
    let bytes = withUnsafeBytes(of: &copy) { Array($0) }
    #expect(bytes == [1, 1, 0, 1])
  }

  @Test func aTupleOfStructuresIsAnArray() throws {
    let fake = try FakeBackend(layoutOf: Tuples.self)
    let storage = try TaskLocalStorage<Tuples>(backend: fake)
    try storage.withCurrent { view in
      let count = view[\.p, arrayOf: Tuples.In3.self].count
      #expect(count == 2)
      view[\.p, arrayOf: Tuples.In3.self][1].y = 7
    }
    let value = try #require(try storage.value(of: .callingThread))
    #expect(value.p.1.y == 7)
    #expect(try storage.withCurrent { $0[\.p, arrayOf: Tuples.In3.self][1].load().y } == 7)
  }

  /// A type with invalid bit patterns cannot be read from other bytes.
  @Test func anElementThatIsNotValidForAllBytesTraps() async {
    await #expect(processExitsWith: .trap) {
      let fake = try FakeBackend(layoutOf: Bytes.self)
      let storage = try TaskLocalStorage<Bytes>(backend: fake)
      try storage.withCurrent { _ = $0[\.bytes, arrayOf: Choice.self][0].load() }
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func copiesAndReplacesTheWholeValue(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try fixture.program(on: .current) {
      $0.start.x = 3
      $0.points[1].x = 4
    }
    var value = try storage.withCurrent { $0.load() }
    #expect(value.start.x == 3)
    #expect(value.points[1].x == 4)
    value.start.x = 30
    value.flag = true
    try storage.withCurrent { $0.store(value) }
    let seen = try #require(try storage.value(of: .callingThread))
    #expect(seen.start.x == 30)
    #expect(seen.flag)
    #expect(seen.points[1].x == 4)
  }

  /// Runs the body with a view of a value that another thread writes to.
  private func withView<Value: MapValue>(
    writing write: @escaping @Sendable (borrowing StorageView<Value>) -> Void,
    _ body: (borrowing StorageView<Value>) -> Void
  ) throws {
    let fake = try FakeBackend(layoutOf: Value.self)
    let storage = try TaskLocalStorage<Value>(backend: fake)
    let reader = ThreadID.current
    let isRead = Box(false)
    let writer = try TestThread {
      while !isRead.get() {
        fake.program(on: reader, as: Value.self) { value in
          for _ in 0..<1_000 { write(value) }
        }
      }
    }
    try storage.withCurrent(body)
    isRead.set(true)
    try writer.join()
  }

  /// In release mode the compiler could load a field of the copy from the storage again.
  @Test func aCopyHasOneValueForEachField() throws {
    try withView(writing: { $0.second &+= 1 }) { (view: borrowing StorageView<Pair>) in
      for _ in 0..<1_000_000 {
        let copy = view.load()
        let inMemory = withUnsafePointer(to: copy) { pointer in
          test_look_at(pointer)
          return pointer.pointee.second
        }
        guard inMemory == copy.second else {
          Issue.record("\(inMemory) and \(copy.second)")
          break
        }
      }
    }
  }

  @Test func aCopyTearsNoField() throws {
    try withView(
      writing: { value in
        value.words[3] = .max
        value.words[3] = 0
      }
    ) { (view: borrowing StorageView<Odd>) in
      for _ in 0..<1_000_000 {
        let copy = view.load()
        withUnsafePointer(to: copy) { test_look_at($0) }
        let word = copy.words[3]
        guard word == 0 || word == .max else {
          Issue.record("\(String(word, radix: 16))")
          break
        }
      }
    }
  }

  @Test func nothingIsStoredOutsideOfTheValue() throws {
    let fake = try FakeBackend(layoutOf: Pair.self).storageBackend
    let bytes = [UInt8](repeating: 1, count: 128)
    let error = try #require(
      #expect(throws: BPFError.self) {
        try bytes.withUnsafeBytes { try fake.store(.callingThread, [64..<65], of: $0) }
      }
    )
    #expect(error.kind == .invalidArgument)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func atomicOperations(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { view in
      view.atomic.sequence.store(5, ordering: .sequentiallyConsistent)
      let stored = view.atomic.sequence.load(ordering: .acquiring)
      #expect(stored == 5)
      var before = view.atomic.sequence.wrappingAdd(.max)
      #expect(before == 5)
      let wrapped = view.atomic.sequence.load(ordering: .relaxed)
      #expect(wrapped == 4)
      before = view.atomic.sequence.bitwiseOr(3)
      #expect(before == 4)
      before = view.atomic.sequence.bitwiseAnd(6)
      #expect(before == 7)
      before = view.atomic.sequence.exchange(9)
      #expect(before == 6)
      let refused = view.atomic.sequence.compareExchange(expected: 1, desired: 2)
      #expect(!refused.exchanged && refused.original == 9)
      let granted = view.atomic.sequence.compareExchange(expected: 9, desired: 2)
      #expect(granted.exchanged && granted.original == 9)
      view.atomic.sequence.store(3, ordering: .releasing)
      let last = view.atomic.sequence.load(ordering: .sequentiallyConsistent)
      #expect(last == 3)
      let phase = view.atomic.phase.exchange(.running)
      #expect(phase == RunPhase(rawValue: 0))
      // The neighbours of a narrow field do not change.
      view.atomic.u8.wrappingAdd(255)
      view.atomic.u8.wrappingAdd(1)
      view.atomic.i16.wrappingAdd(-1)
      #expect(view.i16 == -1)
      let flag = view.flag
      #expect(flag == false)
    }
    #expect(try storage.value(of: .callingThread)?.sequence == 3)
  }

  /// Writes two fields as a program, and ends the write.
  private func finishWrite(_ fixture: BackendFixture<Everything>) {
    do {
      try fixture.program {
        $0.start.x = 8
        $0.start.y = 9
        $0.sequence = 2
      }
    } catch {
      Issue.record(error)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aConsistentReadWaitsForTheWriter(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try fixture.program(on: .current) { $0.sequence = 1 }
    try storage.withCurrent { (view) throws(BPFError) in
      var rounds = 0
      // The writer finishes while the reader is in its second attempt.
      let pair = try view.withSeqcountRead(sequence: \.sequence) { view in
        rounds += 1
        if rounds == 2 {
          finishWrite(fixture)
        }
        return (view.start.x, view.start.y)
      }
      #expect(pair == (8, 9))
      #expect(rounds == 3)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aConsistentReadIsRepeatedAfterAWholeWrite(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    try fixture.storage.withCurrent { (view) throws(BPFError) in
      var rounds = 0
      let pair = try view.withSeqcountRead(sequence: \.sequence) { view in
        rounds += 1
        let x = view.start.x
        if rounds == 1 {
          finishWrite(fixture)
        }
        return (x, view.start.y)
      }
      #expect(pair == (8, 9))
      #expect(rounds == 2)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aConsistentReadFailsWhileAWriteIsInProgress(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try fixture.program(on: .current) { $0.sequence = 3 }
    let error = #expect(throws: BPFError.self) {
      try storage.withCurrent { (view) throws(BPFError) in
        try view.withSeqcountRead(sequence: \.sequence, attempts: 4) { $0.start.x }
      }
    }
    #expect(error?.kind == .contended)
  }

  @Test func aFailedReloadIsNotWrittenBack() throws {
    let fake = try FakeBackend(layoutOf: Pair.self, access: .copying)
    let intercepting = InterceptingBackend(fake.storageBackend)
    let failing: @Sendable () throws(BPFError) -> Void = { () throws(BPFError) in
      throw BPFError(.contended, attempt: "look up", on: "the rest", advice: "none")
    }
    let storage = try TaskLocalStorage<Pair>(backend: intercepting)
    fake.program(on: .current, as: Pair.self) { $0.first = 1 }
    try storage.withCurrent { view in
      view.second = 2
      fake.program(on: .current, as: Pair.self) { $0.first = 3 }
      intercepting.afterLoad.set(failing)
      #expect(throws: BPFError.self) {
        try view.withSeqcountRead(sequence: \.first) { $0.second }
      }
      fake.program(on: .current, as: Pair.self) { $0.first = 4 }
    }
    #expect(fake.program(on: .current, as: Pair.self) { $0.first } == 4)
    #expect(fake.program(on: .current, as: Pair.self) { $0.second } == 2)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aConsistentReadKeepsWhatTheViewChanged(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { (view) throws(BPFError) in
      view.u8 = 6
      try fixture.program(on: .current) { $0.start.x = 4 }
      let x = try view.withSeqcountRead(sequence: \.sequence) { $0.start.x }
      #expect(x == 4)
      #expect(view.u8 == 6)
    }
    #expect(try storage.value(of: .callingThread)?.u8 == 6)
    #expect(try storage.value(of: .callingThread)?.start.x == 4)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func writesConsistently(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Everything.self, map: "everythings")
    let storage = fixture.storage
    try storage.withCurrent { view in
      view.withSeqcountWrite(sequence: \.sequence) { view in
        #expect(view.sequence == 1)
        view.start.x = 2
      }
      #expect(view.sequence == 2)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aBareScalarIsAValue(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(UInt64.self, map: "numbers").storage
    try storage.withCurrent { $0.value += 3 }
    #expect(try storage.withCurrent { $0.value } == 3)
    #expect(try storage.value(of: .callingThread) == 3)
  }

  @Test func aLetFieldIsRead() throws {
    let fake = try FakeBackend(layoutOf: Everything.self)
    let storage = try TaskLocalStorage<Everything>(backend: fake)
    let offset = try #require(MemoryLayout<Everything>.offset(of: \.fixed))
    fake.write([1, 2, 0, 0], at: offset, into: .current)
    #expect(try storage.withCurrent { $0.fixed } == 0x0201)
  }
}
