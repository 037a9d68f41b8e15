// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Dispatch
import Glibc
import MmapStorage
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// The value of a scope, and its lifetime.
@Suite(.liveKernel) struct ScopeTests {
  let program: RequestProgram
  init() throws { program = try RequestProgram() }

  func open(_ name: String = "requests") async throws -> SwiftTaskStorage<Request> {
    try await SwiftTaskStorage(program.object, name)
  }

  @Test func bothSidesWriteTheSameBytes() async throws {
    let requests = try await open()
    let (result, snapshot) = await requests.withValue({ request in
      request.id = 7
      request.kind = 3
    }) {
      program.call(7, row: 0)
      await Task.yield()
      #expect(requests.withCurrent { $0.calls } == 1)
      requests.withCurrent { $0.flags = 5 }
      requests.withCurrent { _ = $0.atomic.calls.wrappingAdd(10) }
      program.call(7, row: 0)
      return "done"
    }
    #expect(result == "done")
    #expect(snapshot == Request(id: 7, calls: 12, kind: 3, flags: 5))
    #expect(requests.withCurrent { $0.id } == nil)
    #expect(try program.look() == Found())
  }

  @Test func aNewScopeBeginsWithZeroes() async throws {
    let few = try await open("few")
    for number in 1...10 {
      let (_, snapshot) = await few.withValue({ #expect($0.load() == Request()) }) {
        few.withCurrent { $0.store(Request(id: 1, calls: 2, kind: 3, flags: 4)) }
        await Task.yield()
      }
      #expect(snapshot == Request(id: 1, calls: 2, kind: 3, flags: 4), "\(number)")
    }
  }

  @Test func aTaskThatOutlivesTheScopeKeepsTheValue() async throws {
    let requests = try await open()
    let (ended, end) = AsyncStream.makeStream(of: Request.self)
    let (released, release) = AsyncStream.makeStream(of: Void.self)
    let late = Mutex<Task<Void, Never>?>(nil)
    let (_, snapshot) = requests.withValue({ $0.id = 1 }, onEnd: { end.yield($0) }) {
      program.call(1, row: 1)
      late.withLock {
        $0 = Task {
          for await _ in released {}
          program.call(1, row: 1)
          await Task.yield()
          program.call(1, row: 1)
        }
      }
    }
    #expect(snapshot?.calls == 1)
    // The slot is not reused meanwhile.
    for number in 2...300 {
      await requests.withValue({ $0.id = UInt64(number) }) {
        program.call(UInt64(number), row: 2)
        await Task.yield()
      }
    }
    #expect(requests.overflowCount == 0)
    release.finish()
    await late.withLock { $0.take() }?.value
    var final: Request?
    for await value in ended {
      final = value
      break
    }
    #expect(final == Request(id: 1, calls: 3))
    #expect(try program.seen()[1] == Seen(own: 3))
    #expect(try program.seen()[2] == Seen(own: 299))
  }

  @Test func onEndComesOnceAlsoWhenTheOperationThrows() async throws {
    struct Failure: Error {}
    let requests = try await open()
    let values = Mutex<[Request]>([])
    await #expect(throws: Failure.self) {
      try await requests.withValue(
        { $0.id = 4 },
        onEnd: { value in values.withLock { $0.append(value) } }
      ) {
        program.call(4, row: 3)
        await Task.yield()
        throw Failure()
      }
    }
    #expect(values.withLock { $0 } == [Request(id: 4, calls: 1)])
  }

  @Test func anOperationWithoutASlotRunsWithoutAValue() async throws {
    let few = try await open("few")
    await few.withValue({ $0.id = 1 }) {
      await few.withValue({ $0.id = 2 }) {
        #expect(throws: Never.self) { try #expect(program.look().few == 2) }
        var prepared = false
        let (ran, snapshot) = await few.withValue({ request in
          request.id = 3
          prepared = request.id == 3
        }) {
          await Task.yield()
          // It has neither its own value nor that of the enclosing scope.
          #expect(throws: Never.self) { try #expect(program.look().few == 0) }
          #expect(few.withCurrent { $0.id } == nil)
          return true
        }
        #expect(ran && prepared && snapshot == nil)
        #expect(throws: Never.self) { try #expect(program.look().few == 2) }
      }
      #expect(throws: Never.self) { try #expect(program.look().few == 1) }
    }
    #expect(few.overflowCount == 1)
    let (_, snapshot) = few.withValue({ $0.id = 5 }) {}
    #expect(snapshot?.id == 5)
  }

  @Test func severalStoragesAtOnce() async throws {
    let requests = try await open()
    let others = try await open("others")
    let few = try await open("few")
    await requests.withValue({ $0.id = 1 }) {
      await others.withValue({ $0.id = 2 }) {
        await few.withValue({ $0.id = 3 }) {
          await Task.yield()
          #expect(throws: Never.self) {
            try #expect(program.look() == Found(requests: 1, others: 2, few: 3))
          }
          await requests.withValue({ $0.id = 4 }) {
            await Task.yield()
            #expect(throws: Never.self) {
              try #expect(program.look() == Found(requests: 4, others: 2, few: 3))
            }
          }
        }
      }
      await Task.yield()
      #expect(throws: Never.self) { try #expect(program.look() == Found(requests: 1)) }
    }
  }

  enum Locals {
    @TaskLocal static var word = 0
    @TaskLocal static var nothing: Void = ()
    @TaskLocal static var object: Box<Int>?
  }

  private func bind(_ count: Int, _ body: @Sendable () async -> Void) async {
    switch count {
    case 0: await body()
    case _ where count % 3 == 0: await Locals.$word.withValue(count) { await bind(count - 1, body) }
    case _ where count % 3 == 1: await Locals.$nothing.withValue(()) { await bind(count - 1, body) }
    default: await Locals.$object.withValue(Box(count)) { await bind(count - 1, body) }
    }
  }

  @Test func programsLookAt64Bindings() async throws {
    let requests = try await open()
    for (others, id) in [(0, 9), (20, 9), (62, 9), (63, 9), (64, 0), (200, 0)] as [(Int, UInt64)] {
      await requests.withValue({ $0.id = 9 }) {
        await bind(others) {
          await Task.yield()
          #expect(throws: Never.self) { try #expect(program.look().requests == id, "\(others)") }
          // A child task uses its parent's bindings, after one mark.
          async let child: Void = {
            let id = others < 63 ? id : 0
            #expect(throws: Never.self) { try #expect(program.look().requests == id, "\(others)") }
          }()
          await child
          // Swift's own lookup has no limit.
          #expect(requests.withCurrent { $0.id } == 9)
        }
      }
    }
  }

  @Test func aTokenFindsTheValueUntilTheScopeEnds() async throws {
    let requests = try await open()
    let (released, release) = AsyncStream.makeStream(of: Void.self)
    let late = Mutex<Task<Void, Never>?>(nil)
    await requests.withValue({ $0.id = 1 }) {
      program.storeToken()
      await Task.yield()
      requests.withValue({ $0.id = 2 }) { #expect(program.foundByToken() == 1) }
      late.withLock { $0 = Task { for await _ in released {} } }
    }
    // A Swift task that inherited the scope continues.
    #expect(program.foundByToken() == 1)
    release.finish()
    await late.withLock { $0.take() }?.value
    for _ in 0..<100_000 where program.foundByToken() != 0 { await Task.yield() }
    requests.withValue({ $0.id = 3 }) { #expect(program.foundByToken() == 0) }
    // Outside of any scope.
    program.storeToken()
    requests.withValue({ $0.id = 4 }) { #expect(program.foundByToken() == 0) }
  }

  @Test func twoStoragesOverOneMapShareTheirSlots() async throws {
    let first = try await open()
    do {
      let second = try await open()
      second.withValue({ $0.id = 1 }) {
        #expect(first.withCurrent { $0.id } == 1)
      }
    }
    await first.withValue({ $0.id = 2 }) {
      program.call(2, row: 4)
      await Task.yield()
    }
    #expect(try program.seen()[4] == Seen(own: 1))
  }

  @Test func aStorageMayBeOpenedAgain() async throws {
    for round in 1...20 {
      let requests = try await open()
      await requests.withValue({ $0.id = UInt64(round) }) {
        await Task.yield()
        program.call(UInt64(round), row: 5)
      }
    }
    #expect(try program.seen()[5] == Seen(own: 20))
  }

  @Test func aScopeOutlivesItsStorage() async throws {
    var requests: SwiftTaskStorage<Request>? = try await open()
    let late = Mutex<Task<Void, Never>?>(nil)
    let (go, gate) = AsyncStream.makeStream(of: Void.self)
    requests?.withValue({ $0.id = 6 }) {
      late.withLock {
        $0 = Task {
          for await _ in go {}
          program.call(6, row: 6)
        }
      }
    }
    requests = nil
    gate.finish()
    await late.withLock { $0.take() }?.value
    #expect(try program.seen()[6] == Seen(own: 1))
  }

  /// The runtime adds a mark to the bindings for such a deinit, after which bindings are ignored.
  @MainActor private final class Resource {
    let program: RequestProgram
    let requests: SwiftTaskStorage<Request>

    init(_ program: RequestProgram, _ requests: SwiftTaskStorage<Request>) {
      self.program = program
      self.requests = requests
    }

    isolated deinit {
      program.call(requests.withCurrent { $0.id } ?? 0, row: 7)
    }
  }

  @Test func anIsolatedDeinitIsWhereSwiftSaysItIs() async throws {
    let requests = try await open()
    await requests.withValue({ $0.id = 8 }) {
      await MainActor.run { _ = Resource(program, requests) }
      var resource: Resource? = await Resource(program, requests)
      _ = resource
      resource = nil
      await Task.yield()
    }
    // The second one runs later.
    while try program.seen()[7].own + program.seen()[7].none + program.seen()[7].other < 2 {
      await Task { @MainActor in }.value
    }
    #expect(try program.seen()[7].other == 0)
  }
}

/// Scopes outside of Swift tasks.
@Suite(.liveKernel) struct SynchronousScopeTests {
  @Test func aThreadHasScopesOfItsOwn() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try TestThread {
      program.call(0, row: 0)
      let (_, snapshot) = requests.withValue({ $0.id = 1 }) {
        program.call(1, row: 1)
        requests.withValue({ $0.id = 2 }) {
          program.call(2, row: 1)
          requests.withCurrent { $0.kind = 9 }
        }
        program.call(1, row: 1)
      }
      #expect(snapshot == Request(id: 1, calls: 2))
      program.call(0, row: 0)
    }.join()
    #expect(try program.seen()[0] == Seen(none: 2))
    #expect(try program.seen()[1] == Seen(own: 3))
  }

  @Test func theSwiftTasksOwnScopeWins() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try TestThread {
      requests.withValue({ $0.id = 1 }) {
        // Starts immediately, on this thread, inside of the thread's scope.
        _ = Task.immediate {
          program.call(1, row: 1)
          requests.withValue({ $0.id = 2 }) { program.call(2, row: 1) }
        }
        _ = Task.immediateDetached {
          // The Swift task has no scope, even if the thread has one.
          program.call(1, row: 2)
          #expect(requests.withCurrent { $0.id } == nil)
          requests.withValue({ $0.id = 3 }) { program.call(3, row: 1) }
        }
        program.call(1, row: 1)
      }
    }.join()
    #expect(try program.seen()[1] == Seen(own: 4))
    #expect(try program.seen()[2] == Seen(none: 1))
  }

  @Test func itThrowsWhatTheOperationThrows() async throws {
    struct Failure: Error {}
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    try TestThread {
      #expect(throws: Failure.self) {
        try requests.withValue({ $0.id = 1 }) { throw Failure() }
      }
      program.call(1, row: 1)
    }.join()
    #expect(try program.seen()[1] == Seen(none: 1))
  }

  @Test func aChildOfForkWritesNobodysSlots() async {
    await #expect(processExitsWith: .success) {
      let program = try RequestProgram(allProcesses: true)
      let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
      try TestThread {
        requests.withValue({ $0.id = 5 }) {
          let child = test_fork()
          if child == 0 {
            requests.withCurrent { $0.id = 99 }
            program.call(5, row: 1)
            requests.withValue({ $0.id = 98 }) { program.call(98, row: 1) }
            // It has the free slots of its parent only, because another thread may have been claiming more.
            guard inNestedScopes(100, of: requests, { requests.withCurrent { $0.id } }) == nil
            else { _exit(2) }
            _exit(requests.withCurrent { $0.id } == 99 ? 0 : 1)
          }
          var status: Int32 = 0
          waitpid(child, &status, 0)
          #expect(status == 0)
          #expect(requests.withCurrent { $0.load() } == Request(id: 5))
          program.call(5, row: 2)
        }
      }.join()
      #expect(try program.seen()[1] == Seen(none: 2))
      #expect(try program.seen()[2] == Seen(own: 1))
    }
  }

  /// The child registers by itself, because Swift tasks do not run there.
  @Test func aChildOfForkKeepsItsRegistrationWhenAnInheritedStorageEnds() async {
    await #expect(processExitsWith: .success) {
      let program = try RequestProgram(allProcesses: true)
      try await withPins(of: program.object, ["requests"]) { directory in
        let control = try openProgram(directory.appending("requests_control"))
        let slots = try MappedSlots(program.object.map("requests"))
        let bindings = FalseBindings()
        for _ in 0..<20 {
          let inherited = Box<SwiftTaskStorage<Request>?>(
            try await SwiftTaskStorage(program.object, "requests")
          )
          // Swift tasks that verified the storage may end later.
          for _ in 0..<1_000 { await Task.yield() }
          let child = test_fork()
          if child == 0 {
            bindings.register(control, head: 0, task: 1)
            slots[255] = .init(owner: MappedSlots.owner(control), holder: 7 << 24 | 255, id: 77)
            bindings.bind(7 << 24 | 255)
            program.call(77, row: 1)
            inherited.set(nil)
            program.call(77, row: 2)
            _exit(0)
          }
          var status: Int32 = 0
          try #require(waitpid(child, &status, 0) == child)
          try #require(status == 0)
        }
      }
      #expect(try program.seen()[1] == Seen(own: 20))
      #expect(try program.seen()[2] == Seen(own: 20))
    }
  }

  /// Opening holds a lock that the end of a storage acquires. A signal ends a deadlock.
  @Test func aChildOfForkEndsAStorageWhileItsParentOpensOne() async {
    await #expect(processExitsWith: .success) {
      alarm(180)
      let program = try RequestProgram()
      func openRequests() async throws -> Box<SwiftTaskStorage<Request>?> {
        Box(try await SwiftTaskStorage(program.object, "requests"))
      }
      // In debug builds, the first end of a storage creates metadata, with locks of the Swift
      // runtime held that the child cannot acquire while the parent creates metadata.
      try await openRequests().set(nil)
      let isDone = Box(false)
      let opening = Task {
        while !isDone.get() {
          _ = try await SwiftTaskStorage<Request>(program.object, "others")
        }
      }
      for _ in 0..<500 {
        let last = try await openRequests()
        let child = test_fork()
        if child == 0 {
          alarm(30)
          last.set(nil)
          _exit(0)
        }
        var status: Int32 = 0
        try #require(waitpid(child, &status, 0) == child)
        try #require(status == 0)
      }
      isDone.set(true)
      try await opening.value
    }
  }
}

private func inNestedScopes<Result>(
  _ count: Int,
  of requests: SwiftTaskStorage<Request>,
  _ body: () -> Result
) -> Result {
  guard count > 0 else { return body() }
  return requests.withValue({ $0.id = 1 }) { inNestedScopes(count - 1, of: requests, body) }.result
}
