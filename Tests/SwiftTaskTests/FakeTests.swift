// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import MmapStorage
import MmapStorageTesting
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
}
