import MmapStorage
import MmapStorageTesting
import SystemPackage
import Testing

private struct Tag: MapValue {
  var requestID: UInt64
  var hits: UInt64
  var priority: UInt32
  var flags: UInt32
}

private struct Oops: Error {}

@Suite struct TaskLocalStorageTests {
  private func make(_ access: FakeBackend.Access, faults: FaultPlan = FaultPlan()) throws -> (
    TaskLocalStorage<Tag>, FakeBackend
  ) {
    let fake = try FakeBackend(layoutOf: Tag.self, access: access, faults: faults)
    return (try TaskLocalStorage<Tag>(backend: fake), fake)
  }

  // MARK: Nesting and throwing

  @Test(arguments: FakeBackend.Access.allCases)
  func nestedViewsOfOneStorageShareTheirBytes(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    try storage.withCurrent { outer in
      outer.requestID = 1
      try storage.withCurrent { inner in
        #expect(inner.requestID == 1)
        inner.requestID = 2
      }
      #expect(outer.requestID == 2)
      outer.flags = 4
    }
    fake.program(on: .current, as: Tag.self, create: false) {
      #expect($0.requestID == 2)
      #expect($0.flags == 4)
    }
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func nestedViewsOfTwoStoragesAreApart(_ access: FakeBackend.Access) throws {
    let (one, _) = try make(access)
    let (two, _) = try make(access)
    try one.withCurrent { first in
      first.requestID = 1
      try two.withCurrent { second in
        #expect(second.requestID == 0)
        second.requestID = 2
        #expect(first.requestID == 1)
      }
    }
    #expect(try one.value(of: .current)?.requestID == 1)
    #expect(try two.value(of: .current)?.requestID == 2)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func whatWasWrittenBeforeAThrowStays(_ access: FakeBackend.Access) throws {
    let (storage, _) = try make(access)
    #expect(throws: Oops.self) {
      try storage.withCurrent { tag in
        tag.requestID = 9
        throw Oops()
      }
    }
    #expect(try storage.value(of: .current)?.requestID == 9)
    // The view was left properly: the next one loads again.
    try storage.setValue(
      Tag(requestID: 10, hits: 0, priority: 0, flags: 0),
      of: .current
    )
    #expect(try storage.withCurrent { $0.requestID } == 10)
  }

  @Test func anErrorOfWritingBackNamesTheClosuresErrorToo() throws {
    var faults = FaultPlan()
    faults.fail(.update, call: 1, with: .noMemory)
    let (storage, _) = try make(.copying, faults: faults)
    let error = #expect(throws: StorageError.self) {
      try storage.withCurrent { tag in
        tag.requestID = 9
        throw Oops()
      }
    }
    #expect(error?.errno == .noMemory)
    #expect(error?.details.contains("Oops") == true)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func aViewKeepsItsStorage(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    var only: TaskLocalStorage<Tag>? = consume storage
    try only?.withCurrent { tag in
      tag.requestID = 1
      only = nil
      #expect(fake.attachedThreads == 1)
      tag.requestID += 1
    }
    #expect(fake.attachedThreads == 0)
    #expect(fake.bytes(of: .current)?.first == 2)
  }

  // MARK: Copying in and out

  @Test func readingAloneCreatesNothing() throws {
    let (storage, fake) = try make(.copying)
    #expect(try storage.withCurrent { $0.requestID } == 0)
    #expect(fake.storageCount == 0)
    #expect(try storage.value(of: .current) == nil)
    #expect(!fake.calls.contains { $0.operation == .update })
    try storage.withCurrent { $0.priority = 1 }
    #expect(fake.storageCount == 1)
  }

  @Test func writingBackLeavesOtherFieldsToTheProgram() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { tag in
      tag.requestID = 5
      fake.program(on: .current, as: Tag.self) {
        $0.hits = 7
        $0.flags = 1
      }
    }
    #expect(try storage.value(of: .current)?.requestID == 5)
    #expect(try storage.value(of: .current)?.hits == 7)
    #expect(try storage.value(of: .current)?.flags == 1)
  }

  @Test func aFieldIsWrittenBackAsAWhole() throws {
    let (storage, fake) = try make(.copying)
    fake.program(on: .current, as: Tag.self) { $0.hits = 0x0001 }
    try storage.withCurrent { tag in
      tag.hits = 0x0002
      fake.program(on: .current, as: Tag.self) { $0.hits = 0x0101 }
    }
    // Byte by byte it would be 0x0102, which nobody wrote.
    #expect(try storage.value(of: .current)?.hits == 2)
  }

  // MARK: Other threads

  @Test(arguments: FakeBackend.Access.allCases)
  func threadsAreApart(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    try storage.withCurrent { $0.requestID = 1 }
    let here = ThreadID.current
    let thread = try TestThread {
      try storage.withCurrent { tag in
        #expect(tag.requestID == 0)
        tag.requestID = 2
      }
      #expect(try storage.value(of: here)?.requestID == 1)
      try storage.setValue(Tag(requestID: 3, hits: 0, priority: 0, flags: 0), of: here)
      #expect(fake.attachedThreads == 2)
    }
    try thread.join()
    #expect(try storage.withCurrent { $0.requestID } == 3)
    // The thread's end gave back its attachment and its storage.
    #expect(fake.attachedThreads == 1)
    #expect(fake.storageCount == 1)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func removingMeansAFreshStorage(_ access: FakeBackend.Access) throws {
    let (storage, _) = try make(access)
    try storage.withCurrent { $0.requestID = 1 }
    #expect(try storage.removeValue(of: .current))
    #expect(try storage.value(of: .current) == nil)
    #expect(try !storage.removeValue(of: .current))
    try storage.withCurrent { tag in
      #expect(tag.requestID == 0)
      tag.priority = 2
    }
    #expect(try storage.value(of: .current)?.priority == 2)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func removingWhileAViewIsInUseLeavesItsBytes(_ access: FakeBackend.Access) throws {
    let (storage, _) = try make(access)
    try storage.withCurrent { outer in
      outer.requestID = 1
      try storage.removeValue(of: .current)
      #expect(outer.requestID == 1)
      outer.priority = 3
    }
    try storage.withCurrent { $0.flags = 1 }
    #expect(try storage.value(of: .current)?.flags == 1)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func anotherThreadMayRemove(_ access: FakeBackend.Access) throws {
    let (storage, _) = try make(access)
    try storage.withCurrent { $0.requestID = 1 }
    let here = ThreadID.current
    try TestThread { try storage.removeValue(of: here) }.join()
    #expect(try storage.withCurrent { $0.requestID } == 0)
  }

  // MARK: Ends

  @Test func theEndOfAStorageDetachesAllThreads() throws {
    let (storage, fake) = try make(.direct)
    var only: TaskLocalStorage<Tag>? = consume storage
    let attached = Gate(), done = Gate()
    let thread = try TestThread { [only] in
      try only?.withCurrent { $0.requestID = 1 }
      attached.open()
      done.wait()
    }
    attached.wait()
    #expect(fake.attachedThreads == 1)
    only = nil
    done.open()
    try thread.join()
    #expect(fake.attachedThreads == 0)
  }

  @Test func aStorageThatIsGoneIsNeverReachedThroughAStaleSlot() throws {
    // Many more than there are slots, each with its own value, created where the last one stood.
    for round in 0..<200 {
      let (storage, _) = try make(.direct)
      try storage.withCurrent { tag in
        #expect(tag.requestID == 0)
        tag.requestID = UInt64(round) + 1
      }
    }
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func moreStoragesThanSlots(_ access: FakeBackend.Access) throws {
    let storages = try (0..<100).map { _ in try make(access).0 }
    for (index, storage) in storages.enumerated() {
      try storage.withCurrent { $0.requestID = UInt64(index) }
    }
    for (index, storage) in storages.enumerated() {
      #expect(try storage.withCurrent { $0.requestID } == UInt64(index))
    }
  }

  // MARK: Faults

  @Test(arguments: FakeBackend.Access.allCases)
  func anAttachThatFailsMayBeTriedAgain(_ access: FakeBackend.Access) throws {
    var faults = FaultPlan()
    faults.fail(.attach, call: 1, with: .noMemory)
    let (storage, fake) = try make(access, faults: faults)
    let error = #expect(throws: StorageError.self) {
      try storage.withCurrent { $0.requestID = 1 }
    }
    #expect(error?.errno == .noMemory)
    #expect(error?.kind == .outOfResources)
    #expect(fake.attachedThreads == 0)
    try storage.withCurrent { $0.requestID = 2 }
    #expect(try storage.value(of: .current)?.requestID == 2)
  }

  @Test func aLookupThatFailsRunsNothing() throws {
    var faults = FaultPlan()
    faults.fail(.lookup, call: 1, with: .permissionDenied)
    let (storage, _) = try make(.copying, faults: faults)
    var ran = false
    let error = #expect(throws: StorageError.self) {
      try storage.withCurrent { _ in ran = true }
    }
    #expect(error?.kind == .permissionDenied)
    #expect(!ran)
    #expect(try storage.withCurrent { $0.requestID } == 0)
  }

  @Test func aMapThatVanishes() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { $0.requestID = 1 }
    fake.removeMap()
    let error = #expect(throws: StorageError.self) {
      try storage.withCurrent { $0.requestID = 2 }
    }
    #expect(error?.errno == .badFileDescriptor)
  }

  @Test func aStorageThatSomeoneElseDeletedReadsAsZero() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { $0.requestID = 1 }
    fake.deleteStorage(of: .current)
    try storage.withCurrent { tag in
      #expect(tag.requestID == 0)
      tag.priority = 1
    }
    #expect(fake.storageCount == 1)
  }

  @Test func callsAreRecorded() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { $0.requestID = 1 }
    #expect(fake.calls.map(\.operation) == [.attach, .lookup, .update])
    #expect(fake.calls.allSatisfy { $0.thread == .current && $0.fault == nil })
  }

  // MARK: Swift tasks

  @Test(arguments: FakeBackend.Access.allCases)
  func aSwiftTaskSeesTheStorageOfTheThreadItIsOn(_ access: FakeBackend.Access) async throws {
    let (storage, _) = try make(access)
    try await withThrowingTaskGroup(of: Int.self) { group in
      for _ in 0..<16 {
        group.addTask { try await hop(storage, times: 300) }
      }
      var hops = 0
      for try await count in group { hops += count }
      #expect(hops > 0, "no Swift task ever changed its thread, so this showed nothing")
    }
  }
}

/// Writes the thread's id into its storage and reads it back on whatever thread it is then; counts
/// how often the thread changed.
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
