// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import MmapStorage
import MmapStorageTesting
import Synchronization
import TestSupport
import Testing

/// The fake, which needs no kernel.
@Suite struct FakeTests {
  @Test func theTestPlaysTheProgramAfterEachHop() async throws {
    let fake = try FakeSwiftTasks<Request>()
    await withTaskGroup { group in
      for id in UInt64(1)...16 {
        group.addTask {
          let (_, snapshot) = await fake.storage.withValue({ $0.id = id }) {
            for _ in 0..<100 {
              await Task.yield()
              #expect(fake.program { $0.id } == id)
              async let child: Void = { fake.program { _ = $0.atomic.calls.wrappingAdd(1) } }()
              fake.program { _ = $0.atomic.calls.wrappingAdd(1) }
              await child
            }
          }
          #expect(snapshot == Request(id: id, calls: 200))
        }
      }
    }
    #expect(fake.program { $0.id } == nil)
    #expect(fake.storage.overflowCount == 0)
  }

  @Test func aFunctionForTheEndIsCalledForItsScopeOnly() throws {
    let fake = try FakeSwiftTasks<Request>(slots: 1)
    let ended = Box<[UInt64]>([])
    fake.storage.withValue({ $0.id = 1 }, onEnd: { value in ended.change { $0.append(value.id) } })
    {}
    // In the same slot.
    fake.storage.withValue({ $0.id = 2 }) {}
    #expect(ended.get() == [1])
  }

  @Test func slotsRunOut() async throws {
    let fake = try FakeSwiftTasks<Request>(slots: 1)
    fake.storage.withValue({ $0.id = 1 }) {
      let (_, snapshot) = fake.storage.withValue({ $0.id = 2 }) {
        #expect(fake.program { $0.id } == nil)
      }
      #expect(snapshot == nil)
      #expect(fake.program { $0.id } == 1)
    }
    #expect(fake.storage.overflowCount == 1)
  }

  /// As when a storage is opened while the last one over the map ends.
  @Test func theEndOfAStorageFreesNoSlotsOfAnother() throws {
    let memory = SharedMemory()
    var first: SwiftTaskStorage<Request>? = SwiftTaskStorage(slots: 128) { _ in memory }
    first?.withValue({ $0.id = 1 }) {}
    #expect(memory.slotsInUse == 64)
    let second = SwiftTaskStorage<Request>(slots: 128) { _ in memory }
    second.withValue({ $0.id = 2 }) {
      first = nil
      #expect(memory.slotsInUse == 64)
    }
    #expect(memory.slotsInUse == 64)
  }

  /// swift_task_storage_find() finds no scope for a token of an earlier storage.
  @Test func aStorageThatIsOpenedAgainHasOtherTags() {
    let memory = SharedMemory()
    func tags() -> Set<UInt64> {
      let storage = SwiftTaskStorage<Request>(slots: 1) { _ in memory }
      var tags: Set<UInt64> = []
      for _ in 1...100 { storage.withValue({ _ in }) { tags.formUnion(memory.holders) } }
      return tags
    }
    let earlier = tags()
    #expect(earlier.count == 100)
    #expect(earlier.isDisjoint(with: tags()))
  }

  @Test func threadsThatNeedSlotsAtOnceClaimThemOnce() throws {
    for _ in 0..<100 {
      let memory = SharedMemory()
      let storage = SwiftTaskStorage<Request>(slots: 128) { _ in memory }
      let ready = Atomic<Int>(0)
      let threads = try (0..<4).map { _ in
        try TestThread {
          ready.add(1, ordering: .relaxed)
          while ready.load(ordering: .relaxed) < 4 {}
          storage.withValue({ _ in }) {}
        }
      }
      for thread in threads { try thread.join() }
      try #require(memory.slotsInUse == 64)
    }
  }

  @Test func threadsOutsideOfSwiftTasks() throws {
    let fake = try FakeSwiftTasks<Request>()
    try TestThread {
      fake.storage.withValue({ $0.id = 1 }) {
        #expect(fake.program { $0.id } == 1)
      }
      #expect(fake.program { $0.id } == nil)
    }.join()
  }

  @Test func theLayoutIsChecked() throws {
    struct Wrong: MapValue {
      var id: UInt32
    }
    let object = try BPFObject(.requests)
    _ = try FakeSwiftTasks<Request>(object, "requests")
    let error = #expect(throws: BPFError.self) { try FakeSwiftTasks<Wrong>(object, "requests") }
    #expect(error?.kind == .layoutMismatch)
    let other = #expect(throws: BPFError.self) { try FakeSwiftTasks<Request>(object, "plain") }
    #expect(other?.kind == .wrongType)
  }

  @Test func aBackendOfThreadsRejectsSlots() throws {
    let object = try BPFObject(.requests)
    let error = #expect(throws: BPFError.self) { try FakeBackend(map: "requests", of: object) }
    #expect(error?.kind == .wrongType)
    #expect(try #require(error).description.contains("'requests'; it is of type array;"))
    _ = try FakeBackend(map: "requests_processes", of: object)
  }
}

/// 128 slots that several storages use, in 64 bytes each.
private final class SharedMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base = UnsafeMutableRawPointer.allocate(
    byteCount: 128 * 64,
    alignment: 64
  )

  init() { base.initializeMemory(as: UInt8.self, repeating: 0, count: 128 * 64) }
  deinit { base.deallocate() }

  func hasExited(_ owner: UInt64) -> Bool { false }
  func unreadableCount() -> Int { 0 }

  /// The number of slots with an owner.
  var slotsInUse: Int { words(at: 0).count }
  /// The tags of scopes.
  var holders: [UInt64] { words(at: 8) }

  /// The words of all slots that are not 0.
  private func words(at offset: Int) -> [UInt64] {
    (0..<128).map { base.load(fromByteOffset: $0 * 64 + offset, as: UInt64.self) }
      .filter { $0 != 0 }
  }
}
