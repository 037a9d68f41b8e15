// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// A program reads the binding of the Swift task that entered the scope only once.
@Suite(.liveKernel) struct KnownBindingTests {
  // Words of FalseBindings: two Swift tasks, whose first word is the head of their bindings, and
  // two bindings. A program uses slot 0 for an unknown Swift task.
  private static let current = 1, thread = 2, task = 16, otherTask = 24, binding = 32, foreign = 40
  private static let tag: UInt64 = 7 << 24

  /// Runs `body` on a thread with a Swift task in a scope, whose value is slot 0 with the id 77.
  /// Returns the program's result, and whether it stored the binding.
  private func withFalseTask(
    _ body: @escaping @Sendable (FalseBindings, MappedSlots, _ call: () -> Void) -> Void
  ) async throws -> (seen: Seen, isNoted: Bool) {
    var isNoted = false
    let program = try RequestProgram()
    try await withPins(of: program.object, ["requests"]) { directory in
      let control = try openProgram(directory.appending("requests_control"))
      defer { try? control.close() }
      let slots = try MappedSlots(program.object.map("requests"))
      defer { slots.deallocateMapping() }
      let bindings = FalseBindings()
      try TestThread {
        bindings.register(control, head: Self.thread, task: Self.current)
        bindings.words[Self.current] = bindings.address(Self.task)
        bindings.words[Self.task] = bindings.address(Self.binding)
        bindings.words[Self.binding + 1] = FalseBindings.key
        bindings.words[Self.binding + 3] = Self.tag
        slots[0] = .init(
          owner: MappedSlots.owner(control),
          holder: Self.tag,
          task: bindings.address(Self.task),
          id: 77
        )
        body(bindings, slots) { program.call(77, row: 1) }
        FalseBindings.run(control, [4, 0, 0, 0, 0, 0])
      }.join()
      isNoted = slots[0].binding == bindings.address(Self.binding)
    }
    return try (program.seen()[1], isNoted)
  }

  /// Makes the program store the binding, and then invalidates the binding.
  private func note(_ bindings: FalseBindings, _ call: () -> Void) {
    call()
    bindings.words[Self.binding + 1] = 0
  }

  @Test func aKnownBindingIsNotReadAgain() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      note(bindings, call)
      call()
    }
    #expect(seen == Seen(own: 2))
    #expect(isNoted)
  }

  @Test func anotherTaskWithTheSameBindingHasItReadAgain() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      note(bindings, call)
      bindings.words[Self.otherTask] = bindings.address(Self.binding)
      bindings.words[Self.current] = bindings.address(Self.otherTask)
      call()
    }
    #expect(seen == Seen(own: 1, none: 1))
    #expect(isNoted)
  }

  @Test func anInnerBindingIsRead() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      note(bindings, call)
      bindings.words[Self.task] = bindings.address(Self.foreign)
      call()
    }
    #expect(seen == Seen(own: 1, none: 1))
    #expect(isNoted)
  }

  @Test func aTaskWithoutABindingHasNoKnownBinding() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, _, call in
      bindings.words[Self.task] = 0
      call()
    }
    #expect(seen == Seen(none: 1))
    #expect(!isNoted)
  }

  @Test func theScopeOfAThreadIsRead() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      note(bindings, call)
      slots[0].task = 0
      bindings.words[Self.current] = 0
      bindings.words[Self.thread] = bindings.address(Self.binding)
      call()
    }
    #expect(seen == Seen(own: 1, none: 1))
    #expect(isNoted)
  }

  @Test func theSlotOfAnotherProcessIsNotTaken() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      note(bindings, call)
      slots[0].owner += 1
      call()
    }
    #expect(seen == Seen(own: 1, none: 1))
    #expect(isNoted)
  }

  @Test func aSlotInAnotherScopeIsNotTaken() async throws {
    let (seen, isNoted) = try await withFalseTask { _, slots, call in
      slots[0].holder += 1 << 24
      call()
    }
    #expect(seen == Seen(none: 1))
    #expect(!isNoted)
  }

  @Test func aTokenDoesNotFindTheSlotOfAnotherProcess() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    let slots = try MappedSlots(program.object.map("requests"))
    defer { slots.deallocateMapping() }
    try requests.withValue({ $0.id = 77 }) {
      let index = try #require((0..<256).first { slots[$0].id == 77 })
      program.storeToken()
      #expect(program.foundByToken() == 77)
      slots[index].owner += 1
      #expect(program.foundByToken() == 0)
      slots[index].owner -= 1
    }
  }

  @Test func onlyTheTaskThatEnteredIsNoted() async throws {
    let (seen, isNoted) = try await withFalseTask { bindings, slots, call in
      slots[0].task = bindings.address(Self.otherTask)
      call()
    }
    #expect(seen == Seen(own: 1))
    #expect(!isNoted)
  }

  enum Locals {
    /// The size of a storage's binding, so that the runtime allocates it in the same place.
    @TaskLocal static var pair = (0, 0)
  }

  @Test func aScopeThatWasLeftIsNotFound() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    let (released, release) = AsyncStream.makeStream(of: Void.self)
    let late = Mutex<Task<Void, Never>?>(nil)
    requests.withValue({ $0.id = 1 }) {
      // Keeps the slot.
      late.withLock { $0 = Task { for await _ in released {} } }
      for _ in 0..<2 { program.call(1, row: 1) }
    }
    for _ in 0..<2 { Locals.$pair.withValue((1, 2)) { program.call(1, row: 2) } }
    release.finish()
    await late.withLock { $0.take() }?.value
    #expect(try program.seen()[1] == Seen(own: 2))
    #expect(try program.seen()[2] == Seen(none: 2))
  }

  @Test func aScopeIsNotFoundBeforeItBegins() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    for id in UInt64(1)...3 {
      requests.withValue({ request in
        request.id = id
        Locals.$pair.withValue((1, 2)) { program.call(id, row: 2) }
      }) {
        for _ in 0..<2 { program.call(id, row: 1) }
      }
    }
    #expect(try program.seen()[1] == Seen(own: 6))
    #expect(try program.seen()[2] == Seen(none: 3))
  }

  @Test func whatAnExitedProcessLeftIsCleared() async throws {
    let program = try RequestProgram()
    let slots = try MappedSlots(program.object.map("requests"))
    defer { slots.deallocateMapping() }
    // No process has this id.
    let gone: UInt64 = (1 << 62) | 5
    for index in 0..<256 {
      // As after the exit of a process that was acquiring them.
      slots[index] = .init(owner: gone | 1 << 63, holder: 9, task: 8, binding: 8, id: 77)
    }
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    requests.withValue({ $0.id = 1 }) { program.call(1, row: 1) }
    let taken = (0..<256).map { slots[$0] }.filter { $0.owner & ~(1 << 63) != gone }
    #expect(taken.count >= 64)
    #expect(taken.allSatisfy { $0.holder == 0 && $0.task == 0 && $0.owner >> 63 == 0 })
    // The slot of a scope contains the stored binding.
    #expect(taken.filter { $0.binding != 0 }.count <= 3)
    #expect(try program.seen()[1] == Seen(own: 1))
  }
}
