// SPDX-License-Identifier: Apache-2.0
import CTestValues
import Glibc
import MmapStorage
import MmapStorageTesting
import SystemPackage
import TestSupport
import Testing

private struct Tag: MapValue {
  var requestID: UInt64 = 0
  var priority: UInt32 = 0
  var flags: UInt32 = 0
}

/// Functions of the fake backend only: faults, attachments, and the record of calls.
@Suite struct FakeBackendTests {
  private func make(_ access: FakeBackend.Access, faults: FaultPlan = FaultPlan()) throws -> (
    TaskLocalStorage<Tag>, FakeBackend
  ) {
    let fake = try FakeBackend(layoutOf: Tag.self, access: access, faults: faults)
    return (try TaskLocalStorage<Tag>(backend: fake), fake)
  }

  @Test func saysWhatItIs() throws {
    let (storage, _) = try make(.direct)
    #expect(storage.backend.kind == .fake)
    #expect("\(storage.backend)".hasPrefix(".fake: "))
  }

  @Test func checksTheLayoutLikeARealMap() throws {
    struct Other: MapValue {
      var requestID: UInt64
      var priority: Int32
      var flags: UInt32
    }
    let fake = try FakeBackend(layoutOf: Other.self)
    let error = #expect(throws: BPFError.self) { try TaskLocalStorage<Tag>(backend: fake) }
    #expect(error?.kind == .layoutMismatch)
    #expect(error?.details.contains("priority") == true)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func aThreadThatHasEndedIsAnError(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    let ended = Box(ThreadID.current)
    try TestThread { ended.set(.current) }.join()
    func check(_ body: () throws(BPFError) -> Void) {
      let error = #expect(throws: BPFError.self) { try body() }
      #expect(error?.kind == .noSuchTask && error?.errno == .noSuchProcess)
    }
    for thread in [ended.get(), ThreadID(rawValue: 0), ThreadID(rawValue: -1)] {
      check { () throws(BPFError) in _ = try storage.value(of: .thread(thread)) }
      check { () throws(BPFError) in try storage.setValue(Tag(), of: .thread(thread)) }
      check { () throws(BPFError) in try storage.removeValue(of: .thread(thread)) }
      #expect(fake.bytes(of: thread) == nil)
    }
    #expect(fake.calls.count == 9 && fake.calls.allSatisfy { $0.fault == nil })
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func aThreadThatRunsExists(_ access: FakeBackend.Access) throws {
    let (storage, _) = try make(access)
    let started = Gate(), done = Gate()
    let id = Box(ThreadID.current)
    let thread = try TestThread {
      id.set(.current)
      started.open()
      done.wait()
    }
    started.wait()
    #expect(try storage.value(of: .thread(id.get())) == nil)
    try storage.setValue(Tag(requestID: 7), of: .thread(id.get()))
    #expect(try storage.value(of: .thread(id.get()))?.requestID == 7)
    done.open()
    try thread.join()
  }

  @Test func aThreadThatHasAValueExists() throws {
    let (storage, fake) = try make(.direct)
    let thread = ThreadID(rawValue: .max)
    fake.program(on: thread, as: Tag.self) { $0.requestID = 7 }
    #expect(try storage.value(of: .thread(thread))?.requestID == 7)
    #expect(try storage.removeValue(of: .thread(thread)))
    #expect(throws: BPFError.self) { try storage.value(of: .thread(thread)) }
  }

  // MARK: The mapping

  @Test func aRemovalByAnotherProcessIsNoticed() throws {
    let (storage, fake) = try make(.direct)
    #expect(try storage.verifyMapping() == .own)
    try storage.withCurrent { $0.requestID = 1 }
    fake.removeValue(of: .current)
    #expect(try storage.verifyMapping() == .removed)
    fake.program(on: .current, as: Tag.self) { $0.requestID = 2 }
    #expect(try storage.verifyMapping() == .removed)
    #expect(try storage.withCurrent { $0.requestID } == 1)
    try storage.removeValue(of: .callingThread)
    #expect(try storage.withCurrent { $0.requestID } == 0)
    #expect(try storage.verifyMapping() == .own)
  }

  @Test func aValueThatAProgramCreatesAfterARemoval() throws {
    let (storage, fake) = try make(.direct)
    try storage.withCurrent { $0.requestID = 1 }
    try storage.removeValue(of: .callingThread)
    fake.program(on: .current, as: Tag.self) { $0.requestID = 2 }
    #expect(try storage.withCurrent { $0.requestID } == 2)
    #expect(try storage.verifyMapping() == .own)
  }

  @Test func aForeignPageIsNoticed() throws {
    let (storage, fake) = try make(.direct)
    try storage.withCurrent { $0.requestID = 1 }
    fake.replaceValue(of: .current)
    #expect(try storage.verifyMapping() == .foreign)
    fake.program(on: .current, as: Tag.self) { $0.requestID = 2 }
    #expect(try storage.withCurrent { $0.requestID } == 1)
    try storage.removeValue(of: .callingThread)
    try storage.withCurrent { $0.requestID = 3 }
    #expect(try storage.verifyMapping() == .own)
    #expect(fake.program(on: .current, as: Tag.self) { $0.requestID } == 3)
  }

  @Test func verifyingTheMappingCanFail() throws {
    var faults = FaultPlan()
    faults.fail(.lookup, call: 1, with: .permissionDenied)
    let (storage, fake) = try make(.direct, faults: faults)
    let error = #expect(throws: BPFError.self) { try storage.verifyMapping() }
    #expect(error?.kind == .permissionDenied)
    #expect(try storage.verifyMapping() == .own)
    fake.removeMap()
    #expect(throws: BPFError.self) { try storage.verifyMapping() }
  }

  @Test func copiesAreAlwaysTheThreadsOwn() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { $0.requestID = 1 }
    fake.removeValue(of: .current)
    #expect(try storage.verifyMapping() == .own)
  }

  // MARK: Attachments

  @Test(arguments: FakeBackend.Access.allCases)
  func theEndOfAThreadDetachesIt(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    try storage.withCurrent { $0.requestID = 1 }
    try TestThread {
      try storage.withCurrent { $0.requestID = 2 }
      #expect(fake.attachedThreads == 2)
      #expect(fake.storageCount == 2)
    }.join()
    #expect(fake.attachedThreads == 1)
    #expect(fake.storageCount == 1)
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func theEndOfAStorageDetachesAllThreads(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    let attached = Gate(), done = Gate()
    var only: TaskLocalStorage<Tag>? = consume storage
    let weak = WeakStorage(only)
    let thread = try TestThread {
      try weak.storage?.withCurrent { $0.requestID = 1 }
      attached.open()
      done.wait()
    }
    attached.wait()
    #expect(fake.attachedThreads == 1)
    only = nil
    #expect(fake.attachedThreads == 0)
    // The kernel frees the thread's storage in the map.
    #expect(fake.storageCount == 1)
    done.open()
    try thread.join()
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func aViewKeepsItsAttachment(_ access: FakeBackend.Access) throws {
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

  @Test func aStorageThatIsGoneIsNeverReachedThroughAStaleSlot() throws {
    // Many more than there are slots, in succession, each with its own value.
    for round in 0..<200 {
      let (storage, _) = try make(.direct)
      try storage.withCurrent { tag in
        #expect(tag.requestID == 0)
        tag.requestID = UInt64(round) + 1
      }
    }
  }

  @Test func aThreadThatIsAttachedKeepsItsBytesWhenSomeoneElseDeletesItsStorage() throws {
    let (storage, fake) = try make(.direct)
    try storage.withCurrent { $0.requestID = 1 }
    fake.removeValue(of: .current)
    #expect(try storage.withCurrent { $0.requestID } == 1)
    #expect(try storage.value(of: .callingThread) == nil)
  }

  @Test func aRemovalDuringTheFirstTouchIsNotMissed() throws {
    let fake = try FakeBackend(layoutOf: Tag.self)
    let intercepting = InterceptingBackend(fake.storageBackend)
    let storage = try TaskLocalStorage<Tag>(backend: intercepting)
    let here = ThreadID.current
    intercepting.afterAttach.set {
      try? TestThread { try storage.removeValue(of: .thread(here)) }.join()
    }
    try storage.withCurrent { $0.requestID = 1 }
    intercepting.afterAttach.set {}
    // Earlier writes went to the removed storage, as with a view in use; later writes are visible.
    try storage.withCurrent { $0.requestID = 2 }
    #expect(try storage.value(of: .thread(here))?.requestID == 2)
    #expect(fake.storageCount == 1)
  }

  @Test func aByteThatIsNeitherTrueNorFalseIsTrue() throws {
    struct Switch: MapValue {
      var id: UInt64
      var on: Bool
      var spare: InlineArray<7, UInt8>
    }
    let fake = try FakeBackend(layoutOf: Switch.self)
    let storage = try TaskLocalStorage<Switch>(backend: fake)
    fake.write([2], at: 8, into: .current)
    let value = try #require(try storage.value(of: .callingThread))
    #expect(value.on)
  }

  @Test func aStructureWithUnionsIsViewed() throws {
    let fake = try FakeBackend(layoutOf: test_choice.self)
    let storage = try TaskLocalStorage<test_choice>(backend: fake)
    try storage.withCurrent { choice in
      choice.head = 7
      choice.number = 0x0403_0201
      choice[\.key.point.x] += 5
    }
    #expect(try storage.withCurrent { $0.number } == 0x0403_0201)
    #expect(fake.bytes(of: .current).map { Array($0.prefix(8)) } == [7, 0, 0, 0, 1, 2, 3, 4])
  }

  // MARK: Faults

  @Test(arguments: FakeBackend.Access.allCases)
  func anAttachThatFailsMayBeTriedAgain(_ access: FakeBackend.Access) throws {
    var faults = FaultPlan()
    faults.fail(.attach, call: 1, with: .noMemory)
    let (storage, fake) = try make(access, faults: faults)
    let error = #expect(throws: BPFError.self) {
      try storage.withCurrent { $0.requestID = 1 }
    }
    #expect(error?.errno == .noMemory)
    #expect(error?.kind == .outOfResources)
    #expect(fake.attachedThreads == 0)
    try storage.withCurrent { $0.requestID = 2 }
    #expect(try storage.value(of: .callingThread)?.requestID == 2)
  }

  @Test func callsAreCountedFromOne() async {
    await #expect(processExitsWith: .trap) {
      var faults = FaultPlan()
      faults.fail(.attach, call: 0, with: .noMemory)
    }
    await #expect(processExitsWith: .trap) {
      var faults = FaultPlan()
      faults.fail(.attach, from: 0, with: .noMemory)
    }
  }

  @Test func attachingAgainThatFailsMayBeTriedAgain() throws {
    var faults = FaultPlan()
    faults.fail(.attach, call: 2, with: .noMemory)
    let (storage, _) = try make(.direct, faults: faults)
    try storage.withCurrent { $0.requestID = 1 }
    try storage.removeValue(of: .callingThread)
    #expect(throws: BPFError.self) { try storage.withCurrent { $0.requestID = 2 } }
    #expect(try storage.withCurrent { $0.requestID } == 0)
  }

  @Test func aFailedLookupDoesNotRunTheClosure() throws {
    var faults = FaultPlan()
    faults.fail(.lookup, call: 1, with: .permissionDenied)
    let (storage, _) = try make(.copying, faults: faults)
    var ran = false
    let error = #expect(throws: BPFError.self) {
      try storage.withCurrent { _ in ran = true }
    }
    #expect(error?.kind == .permissionDenied)
    #expect(!ran)
    #expect(try storage.withCurrent { $0.requestID } == 0)
  }

  @Test func aFailedUpdateThrowsAndLeavesTheViewUsable() throws {
    var faults = FaultPlan()
    faults.fail(.update, call: 1, with: .noMemory)
    let (storage, _) = try make(.copying, faults: faults)
    let error = #expect(throws: BPFError.self) {
      try storage.withCurrent { $0.requestID = 1 }
    }
    #expect(error?.errno == .noMemory)
    #expect(try storage.withCurrent { $0.requestID } == 0)
    try storage.withCurrent { $0.requestID = 2 }
    #expect(try storage.value(of: .callingThread)?.requestID == 2)
  }

  @Test func anErrorOfWritingBackNamesTheClosuresErrorToo() throws {
    var faults = FaultPlan()
    faults.fail(.update, call: 1, with: .noMemory)
    let (storage, _) = try make(.copying, faults: faults)
    let error = #expect(throws: BPFError.self) {
      try storage.withCurrent { (tag) throws(BPFError) in
        tag.requestID = 9
        throw BPFError(.system, attempt: "test", on: "a closure", advice: "")
      }
    }
    #expect(error?.errno == .noMemory)
    #expect(error?.details.contains("cannot test: a closure") == true)
  }

  @Test func callsFailFromAGivenNumberOn() throws {
    var faults = FaultPlan()
    faults.fail(.delete, from: 2, with: .notPermitted)
    let (storage, _) = try make(.direct, faults: faults)
    #expect(try !storage.removeValue(of: .callingThread))
    for _ in 0..<3 {
      #expect(throws: BPFError.self) { try storage.removeValue(of: .callingThread) }
    }
  }

  @Test(arguments: FakeBackend.Access.allCases)
  func aRemovedMap(_ access: FakeBackend.Access) throws {
    let (storage, fake) = try make(access)
    do {
      try storage.withCurrent { tag in
        tag.requestID = 1
        fake.removeMap()
        // A view keeps its bytes.
        #expect(tag.requestID == 1)
      }
    } catch {
      #expect(error.errno == .badFileDescriptor && access == .copying)
    }
    for _ in 0..<2 {
      let error = #expect(throws: BPFError.self) { try storage.withCurrent { $0.requestID = 2 } }
      #expect(error?.errno == .badFileDescriptor)
    }
    #expect(throws: BPFError.self) { try storage.value(of: .callingThread) }
    #expect(throws: BPFError.self) { try storage.setValue(Tag(), of: .callingThread) }
    #expect(throws: BPFError.self) { try storage.removeValue(of: .callingThread) }
    try TestThread {
      #expect(throws: BPFError.self) { try storage.withCurrent { $0.requestID = 2 } }
    }.join()
  }

  // MARK: The record

  @Test func callsAreRecorded() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { $0.requestID = 1 }
    #expect(fake.calls.map(\.operation) == [.attach, .lookup, .update])
    #expect(fake.calls.allSatisfy { $0.thread == .current && $0.fault == nil })
  }

  @Test func readingWritesNothing() throws {
    let (storage, fake) = try make(.copying)
    _ = try storage.withCurrent { $0.requestID }
    // Writing an equal value is not a change.
    try storage.withCurrent { $0.requestID = 0 }
    #expect(!fake.calls.contains { $0.operation == .update })
    #expect(fake.storageCount == 0)
  }

  @Test func nestedViewsAreLoadedAndWrittenBackOnce() throws {
    let (storage, fake) = try make(.copying)
    try storage.withCurrent { (outer) throws(BPFError) in
      outer.requestID = 1
      try storage.withCurrent { $0.priority = 2 }
      outer.flags = 3
    }
    #expect(fake.calls.map(\.operation) == [.attach, .lookup, .update])
  }

  @Test func anAttachedThreadMakesNoCalls() throws {
    let (storage, fake) = try make(.direct)
    for _ in 0..<10 { try storage.withCurrent { $0.requestID += 1 } }
    #expect(fake.calls.map(\.operation) == [.attach])
  }
}

private final class WeakStorage: Sendable {
  weak let storage: TaskLocalStorage<Tag>?
  init(_ storage: TaskLocalStorage<Tag>?) { self.storage = storage }
}
