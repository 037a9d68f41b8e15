// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import SyscallCounting
import Testing

/// An example of unit tests of code that works with a storage, without a kernel or privileges.
@Suite struct WorkerTests {
  let fake: FakeBackend
  let counters: TaskLocalStorage<CallCounters>

  init() throws {
    fake = try FakeBackend(layoutOf: CallCounters.self)
    counters = try TaskLocalStorage(backend: fake)
  }

  @Test func tellsTheProgramItsShare() throws {
    var seen: UInt32?
    let worker = Worker(name: "w", sampling: 7, plan: [(.asking, 1)])
    _ = try worker.run(counters: counters) { _ in
      seen = fake.program(on: .current, as: CallCounters.self, create: false) { $0.sampling }
    }
    #expect(seen == 7)
  }

  @Test func readsWhatTheProgramCounted() throws {
    let worker = Worker(name: "w", sampling: 2, plan: [(.reading, 3)])
    let result = try worker.run(counters: counters) { kind in
      fake.program(on: .current, as: CallCounters.self) { view in
        if view.seen[kind.rawValue] % 2 == 0 { view.sampled[kind.rawValue] += 1 }
        view.seen[kind.rawValue] += 1
      }
    }
    #expect(result.seen == [0, 3, 0, 0, 0, 0])
    #expect(result.sampled == [0, 2, 0, 0, 0, 0])
    #expect(result.mistakes.isEmpty && result.missing == 0)
  }

  @Test func noticesACallThatWasNotCounted() throws {
    let worker = Worker(name: "w", sampling: 1, plan: [(.reading, 3)])
    let result = try worker.run(counters: counters)
    #expect(result.mistakes == ["w: file: 3 calls made, 0 seen; 3 due in the sample, 0 there"])
    #expect(result.missing == 3)
  }

  @Test func passesAnErrorOn() throws {
    var faults = FaultPlan()
    faults.fail(.attach, call: 1, with: .noMemory)
    let counters = try TaskLocalStorage<CallCounters>(
      backend: FakeBackend(layoutOf: CallCounters.self, faults: faults)
    )
    #expect(throws: BPFError.self) {
      try Worker(name: "w", sampling: 1, plan: []).run(counters: counters)
    }
  }
}
