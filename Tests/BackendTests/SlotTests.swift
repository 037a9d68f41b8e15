// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import CTestSupport
import Glibc
import MmapStorage
import MmapStorageTesting
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// Slots of threads: their maximum number, and their contents as read by a signal handler.
@Suite struct SlotTests {
  @Test func threadsAttachedBeforeTheirTablesGrow() async {
    await #expect(processExitsWith: .success) {
      // Runs in a separate process, whose tables are still small.
      let created = Gate(), attached = Gate(), ready = Box(0)
      let first = try fakeStorage()
      let storages = Box([first])
      let threads = try (1...4).map { number in
        try TestThread {
          try first.withCurrent { $0.requestID = UInt64(number) }
          ready.change { $0 += 1 }
          if ready.get() == 4 { attached.open() }
          created.wait()
          for (index, storage) in storages.get().enumerated() {
            try storage.withCurrent { $0.hits = UInt64(number * 10_000 + index) }
          }
          for (index, storage) in storages.get().enumerated() {
            let hits = try storage.withCurrent { $0.hits }
            try #require(hits == UInt64(number * 10_000 + index))
          }
          let requestID = try first.withCurrent { $0.requestID }
          try #require(requestID == UInt64(number))
        }
      }
      attached.wait()
      try storages.change { list in for _ in 0..<1_000 { list.append(try fakeStorage()) } }
      created.open()
      for thread in threads { try thread.join() }
    }
  }

  /// A signal handler, or the thread itself, may have loaded the old table's address before.
  @Test func theOldTableStaysAndTheNewOneHasItsSlots() async {
    await #expect(processExitsWith: .success) {
      let first = try fakeStorage()
      try first.withCurrent { $0.hits = 1 }
      let thread = mms_thread_at(mms_thread_offset())
      let old = mms_thread_slots(thread)
      // The first table has four slots.
      let values = (0..<4).map { [old[$0].direct, old[$0].attachment] }
      #expect(values.contains { $0[0] != nil })
      let storages = try (0..<100).map { _ in try fakeStorage() }
      let new = mms_thread_slots(thread)
      #expect(new != old)
      for table in [old, new] {
        #expect((0..<4).map { [table[$0].direct, table[$0].attachment] } == values)
      }
      withExtendedLifetime(storages) {}
    }
  }

  @Test func asManyStoragesAsThereMayBe() async {
    await #expect(processExitsWith: .success) {
      let fake = try FakeBackend(layoutOf: Tag.self)
      var storages = try (0..<16_384).map { _ in try TaskLocalStorage<Tag>(backend: fake) }
      try storages[16_383].withCurrent { $0.hits = 1 }
      let error = #expect(throws: BPFError.self) { try TaskLocalStorage<Tag>(backend: fake) }
      #expect(error?.kind == .outOfResources)
      #expect(error?.advice.contains("16384") == true)
      storages.removeLast(2)
      let another = try fakeStorage()
      #expect(try another.withCurrent { $0.hits } == 0)
    }
  }

  @Test func aStorageWithTheIndexOfOneThatEndedStartsUnattachedOnAllThreads() throws {
    let isOver = Gate(), attached = Gate()
    let current = Box<TaskLocalStorage<Tag>?>(try fakeStorage())
    let next = Gate()
    let thread = try TestThread {
      try current.get()?.withCurrent { $0.hits = 7 }
      attached.open()
      next.wait()
      let hits = try #require(current.get()).withCurrent { $0.hits }
      try #require(hits == 0)
      isOver.open()
    }
    attached.wait()
    current.set(nil)
    // The free index is reused first.
    current.set(try fakeStorage())
    next.open()
    isOver.wait()
    try thread.join()
  }

  @Test func aThreadThatEndedWithTheSystemCallIsNotTouched() async {
    await #expect(processExitsWith: .success) {
      let storage = try fakeStorage()
      for _ in 0..<50 {
        try TestThread {
          try storage.withCurrent { $0.hits = 1 }
          test_exit_thread()
        }.join()
      }
      let storages = try (0..<100).map { _ in try fakeStorage() }
      try TestThread { for storage in storages { try storage.withCurrent { $0.hits += 1 } } }.join()
      for storage in storages { try storage.withCurrent { $0.hits += 1 } }
    }
  }

  @Test(
    .enabled(
      if: geteuid() == 0 && access(lastThreadID, W_OK) == 0,
      "only root may choose thread ids"
    )
  )
  func aThreadWithTheIDOfOneThatEndedWithTheSystemCall() async {
    await #expect(processExitsWith: .success) {
      let fake = try FakeBackend(layoutOf: Tag.self)
      let storage = try TaskLocalStorage<Tag>(backend: fake)
      let id = Box<Int32>(0), hasSameID = Box(false)
      try TestThread {
        try storage.withCurrent { $0.hits = 1 }
        id.set(ThreadID.current.rawValue)
        test_exit_thread()
      }.join()
      #expect(fake.attachedThreads == 1)
      // Another process may create a thread first.
      for _ in 0..<10_000 where !hasSameID.get() {
        let file = try FileDescriptor.open(FilePath(lastThreadID), .writeOnly)
        try file.closeAfter { _ = try file.writeAll("\(id.get() - 1)".utf8) }
        try TestThread {
          guard ThreadID.current.rawValue == id.get() else { return }
          hasSameID.set(true)
          try storage.withCurrent { $0.hits += 1 }
        }.join()
      }
      #expect(hasSameID.get())
      #expect(fake.attachedThreads == 0)
    }
  }

  // MARK: Signals

  @Test(.atHardwareSpeed) func aHandlerFindsItsOwnStoragesWhileOthersComeAndGo() async {
    await #expect(processExitsWith: .success) {
      let kept = try (0..<100).map { index in
        let storage = try fakeStorage()
        try storage.withCurrent { $0.requestID = UInt64(index) + 1 }
        return storage
      }
      let count = kept.count
      let storages = UnsafeSendable(
        UnsafeMutablePointer<TaskLocalStorage<Tag>>.allocate(capacity: count)
      )
      for index in 0..<count { (storages.value + index).initialize(to: kept[index]) }
      // It may interrupt malloc(), so it must not allocate: no iterators, which debug builds box.
      handled.body.set {
        var index = 0
        while index < count {
          let isRight = try? storages.value[index].withCurrent { $0.requestID == UInt64(index) + 1 }
          if isRight == true {
            handled.right.add(1, ordering: .relaxed)
          } else {
            handled.wrong.add(1, ordering: .relaxed)
          }
          index += 1
        }
      }
      // The Swift runtime creates metadata at the first use.
      handled.body.get()()
      handle(SIGUSR1)
      let target = UnsafeSendable(pthread_self())
      let isOver = Box(false)
      let sender = try TestThread {
        while !isOver.get() {
          let before = handled.count.load(ordering: .relaxed)
          pthread_kill(target.value, SIGUSR1)
          // One signal at a time, so that the thread makes progress.
          while handled.count.load(ordering: .relaxed) == before, !isOver.get() { sched_yield() }
        }
      }
      // Each index is reused, and the tables grow.
      var round = 0
      while round < 200 || handled.count.load(ordering: .relaxed) < 10 {
        let others = try (0..<(round % 40)).map { _ in try fakeStorage() }
        for other in others { try other.withCurrent { $0.requestID = 999 } }
        round += 1
      }
      isOver.set(true)
      try sender.join()
      #expect(handled.wrong.load(ordering: .relaxed) == 0)
      #expect(handled.right.load(ordering: .relaxed) > 100)
    }
  }

  @Test func aHandlerThatInterruptsAFirstTouchGetsAnError() async {
    await #expect(processExitsWith: .success) { try interruptAFirstTouch(.direct) }
  }

  @Test func aHandlerThatInterruptsACopyGetsAnError() async {
    await #expect(processExitsWith: .success) { try interruptAFirstTouch(.copying) }
  }

  // MARK: Cancellation

  @Test func aThreadIsNotCancelledInsideOfTheLibrary() async {
    await #expect(processExitsWith: .success) {
      let intercepting = InterceptingBackend(
        try FakeBackend(layoutOf: Tag.self).storageBackend
      )
      let storage = try TaskLocalStorage<Tag>(backend: intercepting)
      let isInside = Gate(), isCancelled = Gate()
      let passed = Box(false)
      intercepting.afterAttach.set {
        isInside.open()
        isCancelled.wait()
        pthread_testcancel()
        passed.set(true)
      }
      let thread = try TestThread {
        try storage.withCurrent { $0.hits = 1 }
        while true { pthread_testcancel() }
      }
      isInside.wait()
      thread.cancel()
      isCancelled.open()
      try thread.join()
      #expect(passed.get())
      intercepting.afterAttach.set {}
      // No lock is held.
      try storage.withCurrent { $0.hits = 1 }
    }
  }

  // MARK: Thread-specific data

  @Test func keysThatWereUsedUpAtTheFirstTouch() async {
    await #expect(processExitsWith: .success) {
      let fake = try FakeBackend(layoutOf: Tag.self)
      let storage = try TaskLocalStorage<Tag>(backend: fake)
      var keys: [pthread_key_t] = []
      var key = pthread_key_t()
      while pthread_key_create(&key, nil) == 0 { keys.append(key) }
      let error = #expect(throws: BPFError.self) { try storage.withCurrent { $0.hits = 1 } }
      #expect(error?.kind == .outOfResources)
      for key in keys { pthread_key_delete(key) }
      try TestThread { try storage.withCurrent { $0.hits = 1 } }.join()
      #expect(fake.attachedThreads == 0)
    }
  }
}

/// Written to ns_last_pid: the last thread id that the kernel assigned.
private let lastThreadID = "/proc/sys/kernel/ns_last_pid"

/// The data of a signal handler.
private enum handled {
  static let body = Box<@Sendable () -> Void>({})
  static let right = Atomic(0)
  static let wrong = Atomic(0)
  /// The number of runs of a handler.
  static let count = Atomic(0)
}

private func handle(_ signal: Int32) {
  var action = sigaction()
  action.__sigaction_handler.sa_handler = { _ in
    handled.body.get()()
    handled.count.add(1, ordering: .relaxed)
  }
  sigaction(signal, &action, nil)
  // Dispatch blocks signals on its threads.
  var signals = sigset_t()
  sigemptyset(&signals)
  sigaddset(&signals, signal)
  pthread_sigmask(SIG_UNBLOCK, &signals, nil)
}

private struct UnsafeSendable<Value>: @unchecked Sendable {
  let value: Value
  init(_ value: Value) { self.value = value }
}

private func fakeStorage() throws(BPFError) -> TaskLocalStorage<Tag> {
  try TaskLocalStorage<Tag>(backend: FakeBackend(layoutOf: Tag.self))
}

private func interruptAFirstTouch(_ access: FakeBackend.Access) throws {
  let intercepting = InterceptingBackend(
    try FakeBackend(layoutOf: Tag.self, access: access).storageBackend
  )
  let storage = try TaskLocalStorage<Tag>(backend: intercepting)
  let other = try fakeStorage()
  let errors = Box<[BPFError.Kind?]>([])
  handled.body.set {
    let calls: [() throws -> Void] = [
      { try other.withCurrent { $0.hits = 1 } },
      { try storage.withCurrent { $0.hits = 1 } },
      { _ = try other.value(of: .callingThread) },
      { try other.setValue(Tag(), of: .callingThread) },
      { try other.removeValue(of: .callingThread) },
      { _ = try other.values() },
      { _ = try other.verifyMapping() },
    ]
    for call in calls {
      do {
        try call()
        errors.change { $0.append(nil) }
      } catch {
        errors.change { $0.append((error as? BPFError)?.kind) }
      }
    }
  }
  handle(SIGUSR1)
  let raises = Box(true)
  intercepting.afterAttach.set { if raises.get() { raise(SIGUSR1) } }
  intercepting.beforeLoad.set { if raises.get() { raise(SIGUSR1) } }
  try storage.withCurrent { $0.hits = 1 }
  raises.set(false)
  #expect(errors.get() == Array(repeating: .wrongState, count: 7))
  // Outside of a slow path, the handler may attach. Inside, it may use an existing attachment.
  errors.set([])
  raise(SIGUSR1)
  #expect(errors.get() == Array(repeating: nil, count: 7))
}
