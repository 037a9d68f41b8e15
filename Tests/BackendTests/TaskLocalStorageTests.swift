// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import MmapStorage
import MmapStorageTesting
import SystemPackage
import TestSupport
import Testing

typealias Tag = Values.Tag

/// The behaviour of a storage is the same with all backends.
@Suite struct TaskLocalStorageTests {
  @Test func theAdviceForAGeneratedType() throws {
    let fake = try FakeBackend(map: "everythings", of: BPFObject(.values))
    let error = #expect(throws: BPFError.self) { try TaskLocalStorage<Tag>(backend: fake) }
    let details = try #require(error?.details)
    let advice = details.split(separator: "\n").filter { $0.hasPrefix("- ") }
    #expect(advice.count == 1, "\(details)")
    #expect(advice.first?.hasPrefix("- 'Tag' is generated: ") == true)
  }

  // MARK: Nesting and throwing

  @Test(arguments: BackendUnderTest.allCases)
  func nestedViewsOfOneStorageShareTheirBytes(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.storage.withCurrent { (outer) throws(BPFError) in
      outer.requestID = 1
      try fixture.storage.withCurrent { inner in
        #expect(inner.requestID == 1)
        inner.requestID = 2
      }
      #expect(outer.requestID == 2)
      outer.flags = 4
    }
    #expect(try fixture.storage.value(of: .thread(.current))?.requestID == 2)
    #expect(try fixture.storage.value(of: .thread(.current))?.flags == 4)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func nestedViewsOfTwoStoragesAreSeparate(_ backend: BackendUnderTest) throws {
    let one = try backend.fixture(Tag.self, map: "tags").storage
    let two = try backend.fixture(Tag.self, map: "tags").storage
    try one.withCurrent { (first) throws(BPFError) in
      first.requestID = 1
      try two.withCurrent { second in
        #expect(second.requestID == 0)
        second.requestID = 2
        #expect(first.requestID == 1)
      }
    }
    #expect(try one.value(of: .thread(.current))?.requestID == 1)
    #expect(try two.value(of: .thread(.current))?.requestID == 2)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func writesBeforeAThrowAreKept(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    let refused = BPFError(.system, attempt: "test", on: "a closure", advice: "")
    #expect(throws: BPFError.self) {
      try storage.withCurrent { (tag) throws(BPFError) in
        tag.requestID = 9
        throw refused
      }
    }
    #expect(try storage.value(of: .thread(.current))?.requestID == 9)
    // The view was ended correctly: the next one reads the bytes written since.
    try storage.setValue(Tag(requestID: 10), of: .thread(.current))
    #expect(try storage.withCurrent { $0.requestID } == 10)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aViewKeepsItsStorage(_ backend: BackendUnderTest) throws {
    var only: BackendFixture<Tag>? = try backend.fixture(Tag.self, map: "tags")
    let implementation = try #require(only?.backend)
    try only?.storage.withCurrent { tag in
      tag.requestID = 1
      only = nil
      tag.requestID += 1
    }
    var bytes = [UInt8](repeating: 0, count: implementation.valueSize)
    let found = try bytes.withUnsafeMutableBytes {
      try implementation.load(.callingThread, into: $0)
    }
    // A page is released with the last storage that uses it; other values stay in the map.
    #expect(found == (backend != .userPage))
    if found { #expect(bytes[0] == 2) }
  }

  // MARK: BPF programs

  @Test(arguments: BackendUnderTest.allCases)
  func aViewLeavesOtherFieldsToTheProgram(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.storage.withCurrent { (tag) throws(BPFError) in
      tag.requestID = 5
      try fixture.program {
        $0.hits = 7
        $0.flags = 1
      }
    }
    let value = try #require(try fixture.storage.value(of: .thread(.current)))
    #expect(value.requestID == 5)
    #expect(value.hits == 7)
    #expect(value.flags == 1)
  }

  @Test(arguments: BackendUnderTest.copying)
  func aFieldIsWrittenBackAsAWhole(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.program { $0.hits = 0x0001 }
    try fixture.storage.withCurrent { (tag) throws(BPFError) in
      tag.hits = 0x0002
      try fixture.program { $0.hits = 0x0101 }
    }
    // A merge by bytes would give 0x0102, which neither side wrote.
    #expect(try fixture.storage.value(of: .thread(.current))?.hits == 2)
  }

  @Test(arguments: BackendUnderTest.copying)
  func readingAloneCreatesNothing(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    #expect(try fixture.storage.withCurrent { $0.requestID } == 0)
    #expect(try fixture.storage.value(of: .thread(.current)) == nil)
    try fixture.storage.withCurrent { $0.priority = 1 }
    #expect(try fixture.storage.value(of: .thread(.current))?.priority == 1)
  }

  @Test(arguments: BackendUnderTest.copying)
  func aStorageThatSomeoneElseDeletedReadsAsZero(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.storage.withCurrent { $0.requestID = 1 }
    try fixture.delete(of: .current)
    try fixture.storage.withCurrent { tag in
      #expect(tag.requestID == 0)
      tag.priority = 1
    }
    #expect(try fixture.storage.value(of: .thread(.current))?.priority == 1)
  }

  @Test(arguments: BackendUnderTest.copying)
  func aStorageThatIsDeletedWhileAViewIsInUseGetsTheChanges(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.storage.setValue(Tag(requestID: 1, hits: 2), of: .thread(.current))
    try fixture.storage.withCurrent { (tag) throws(BPFError) in
      tag.priority = 3
      try fixture.delete(of: .current)
    }
    let value = try #require(try fixture.storage.value(of: .thread(.current)))
    #expect(value.priority == 3)
    #expect(value.requestID == 0)
  }

  // MARK: Other threads

  @Test(.threadPidfds, arguments: BackendUnderTest.allCases)
  func threadsHaveSeparateValues(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    try storage.withCurrent { $0.requestID = 1 }
    let here = ThreadID.current
    try TestThread {
      try storage.withCurrent { tag in
        #expect(tag.requestID == 0)
        tag.requestID = 2
      }
      #expect(try storage.value(of: .thread(here))?.requestID == 1)
      try storage.setValue(Tag(requestID: 3), of: .thread(here))
    }.join()
    #expect(try storage.withCurrent { $0.requestID } == 3)
  }

  @Test(.threadPidfds, arguments: BackendUnderTest.allCases)
  func aPidfdStandsForItsTask(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    try TestThread {
      try withPidfd(of: .current) { pidfd in
        #expect(try storage.value(of: .pidfd(pidfd)) == nil || backend.isDirect)
        try storage.setValue(Tag(requestID: 4), of: .pidfd(pidfd))
        #expect(try storage.withCurrent { $0.requestID } == 4)
        #expect(try storage.removeValue(of: .pidfd(pidfd)))
        #expect(try storage.withCurrent { $0.requestID } == 0)
      }
    }.join()
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aDescriptorThatIsNoPidfd(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    let null = try FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec)
    defer { try? null.close() }
    for descriptor in [null, FileDescriptor(rawValue: 1 << 20)] {
      let error = #expect(throws: BPFError.self) {
        try storage.value(of: .pidfd(descriptor))
      }
      #expect(error?.errno == .badFileDescriptor)
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func removingMeansAFreshStorage(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    try storage.withCurrent { $0.requestID = 1 }
    #expect(try storage.removeValue(of: .thread(.current)))
    #expect(try storage.value(of: .thread(.current)) == nil)
    #expect(try !storage.removeValue(of: .thread(.current)))
    try storage.withCurrent { tag in
      #expect(tag.requestID == 0)
      tag.priority = 2
    }
    #expect(try storage.value(of: .thread(.current))?.priority == 2)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func removingThroughAnotherStorageOfTheMap(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    let other = try TaskLocalStorage<Tag>(backend: fixture.backend)
    try fixture.storage.withCurrent { $0.requestID = 1 }
    #expect(try other.removeValue(of: .thread(.current)))
    try fixture.storage.withCurrent { $0.priority = 2 }
    let value = try other.value(of: .thread(.current))
    #expect(value?.requestID == 0 && value?.priority == 2)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func removingWhileAViewIsInUseLeavesItsBytes(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    try storage.withCurrent { (outer) throws(BPFError) in
      outer.requestID = 1
      try storage.removeValue(of: .thread(.current))
      #expect(outer.requestID == 1)
      outer.priority = 3
    }
    try storage.withCurrent { $0.flags = 1 }
    #expect(try storage.value(of: .thread(.current))?.flags == 1)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func writesAfterARemovalAreKept(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    try fixture.storage.withCurrent { $0.requestID = 1 }
    try fixture.storage.removeValue(of: .thread(.current))
    try fixture.storage.setValue(Tag(requestID: 77), of: .thread(.current))
    #expect(try fixture.storage.withCurrent { $0.requestID } == 77)
  }

  @Test(.threadPidfds, arguments: BackendUnderTest.whereAnyoneCreates)
  func twoThreadsSetAndRemoveTheSameTasksValues(_ backend: BackendUnderTest) throws {
    // On two maps: the kernel returns EAGAIN while the task's last storage of any map is being
    // removed.
    let one = try backend.fixture(Tag.self, map: "tags").storage
    let two = try backend.fixture(Tag.self, map: "tags").storage
    let here = ThreadID.current
    let threads = try [one, two].map { storage in
      try TestThread {
        for round in 0..<5_000 {
          try storage.setValue(Tag(requestID: UInt64(round)), of: .thread(here))
          try storage.removeValue(of: .thread(here))
        }
      }
    }
    for thread in threads { try thread.join() }
  }

  @Test(.threadPidfds, arguments: BackendUnderTest.copying)
  func aThreadAndAnotherCreateItsValueAtOnce(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    let isOver = Box(false)
    try withPidfd(of: .current) { pidfd in
      let other = try TestThread {
        while !isOver.get() { try storage.setValue(Tag(hits: 1), of: .pidfd(pidfd)) }
      }
      do {
        defer { isOver.set(true) }
        for round in 1...20_000 {
          try storage.withCurrent { $0.requestID = UInt64(round) }
          try storage.removeValue(of: .callingThread)
        }
      }
      try other.join()
    }
  }

  @Test(arguments: BackendUnderTest.direct)
  func aLoopSeesWhatIsWrittenMeanwhile(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Tag.self, map: "tags")
    let here = ThreadID.current
    let attached = Gate()
    let thread = try TestThread {
      attached.wait()
      try fixture.program(on: here) { $0.flags = 1 }
    }
    // A compiler that assumes no other writer would load once.
    let seen = try fixture.storage.withCurrent { tag in
      attached.open()
      for _ in 0..<20_000_000_000 where tag.flags != 0 { return true }
      return false
    }
    #expect(seen)
    try thread.join()
  }

  @Test(.threadPidfds, arguments: BackendUnderTest.allCases)
  func anotherThreadMayRemove(_ backend: BackendUnderTest) throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    try storage.withCurrent { $0.requestID = 1 }
    let here = ThreadID.current
    try TestThread { try storage.removeValue(of: .thread(here)) }.join()
    #expect(try storage.withCurrent { $0.requestID } == 0)
  }

  @Test(arguments: BackendUnderTest.allCases)
  func manyStorages(_ backend: BackendUnderTest) throws {
    // The usual limit is 1024 descriptors, for all backends at the same time.
    let storages = try (0..<20).map { _ in try backend.fixture(Tag.self, map: "tags").storage }
    for (index, storage) in storages.enumerated() {
      try storage.withCurrent { $0.requestID = UInt64(index) }
    }
    for (index, storage) in storages.enumerated() {
      #expect(try storage.withCurrent { $0.requestID } == UInt64(index))
    }
  }

  @Test(arguments: BackendUnderTest.allCases)
  func aCompatibleTypeLeavesWhatItDoesNotKnow(_ backend: BackendUnderTest) throws {
    struct Outer: MapValue { var tag: Tag }
    let fixture = try backend.fixture(Outer.self, map: "longer_tags", policy: .compatible)
    let rest = (24..<48).map { UInt8($0) }
    _ = try fixture.storage.withCurrent { $0.tag.requestID = 1 }
    try [UInt8](repeating: 0, count: 24).appending(rest).withUnsafeBytes {
      try fixture.backend.store(.callingThread, [24..<48], of: $0)
    }
    try fixture.storage.withCurrent { $0.tag.flags = 2 }
    try fixture.storage.setValue(Outer(tag: Tag(priority: 9)), of: .thread(.current))
    let bytes = try #require(try fixture.bytes())
    #expect(bytes[16] == 9)
    #expect(Array(bytes[24..<48]) == rest)
  }

  @Test(arguments: BackendUnderTest.allCases.filter { $0 != .userPage })
  func aValueOfSeveralPages(_ backend: BackendUnderTest) throws {
    let fixture = try backend.fixture(Values.Large.self, map: "larges")
    try fixture.storage.withCurrent { large in
      large.words[0] = 1
      large.words[999] = 2
    }
    try fixture.program { large in
      large.words[512] = large.words[0] + large.words[999]
    }
    #expect(try fixture.storage.withCurrent { $0.words[512] } == 3)
    #expect(try fixture.storage.value(of: .thread(.current))?.words[999] == 2)
  }

  // MARK: Swift tasks

  @Test(arguments: BackendUnderTest.allCases)
  func aSwiftTaskSeesTheStorageOfTheThreadItIsOn(_ backend: BackendUnderTest) async throws {
    let storage = try backend.fixture(Tag.self, map: "tags").storage
    let executor = AlternatingExecutor()
    let threads = try executor.start()
    let hops = try await withTaskExecutorPreference(executor) {
      try await hop(storage, times: 300)
    }
    try executor.stop(threads)
    #expect(hops > 0, "the Swift task never changed its thread, so this showed nothing")
  }
}

extension [UInt8] {
  fileprivate func appending(_ other: [UInt8]) -> [UInt8] { self + other }
}

/// Writes the thread's id to its storage and reads it back on the current thread. Counts the
/// changes of the thread.
private func hop(_ storage: TaskLocalStorage<Tag>, times: Int) async throws -> Int {
  var hops = 0
  var last = ThreadID.current
  for _ in 0..<times {
    try storage.withCurrent { $0.requestID = UInt64(ThreadID.current.rawValue) }
    await Task.yield()
    try storage.withCurrent { tag in
      let here = UInt64(ThreadID.current.rawValue)
      #expect(tag.requestID == 0 || tag.requestID == here)
      tag.requestID = here
    }
    if ThreadID.current != last { hops += 1 }
    last = .current
  }
  return hops
}

/// Runs `body` with a pidfd of a thread that the test owns.
private func withPidfd(of thread: ThreadID, _ body: (FileDescriptor) throws -> Void) throws {
  let number = test_pidfd_open(thread.rawValue)
  guard number >= 0 else { throw Errno(rawValue: -number) }
  let descriptor = FileDescriptor(rawValue: number)
  defer { try? descriptor.close() }
  try body(descriptor)
}
