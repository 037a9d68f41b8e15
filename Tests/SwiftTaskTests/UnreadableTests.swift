// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import LibBPF
import MmapStorage
import Synchronization
import SystemPackage
import TestSupport
import Testing

/// A program cannot wait for memory that it cannot read.
@Suite(.liveKernel) struct UnreadableTests {
  // Words of FalseBindings.
  private static let current = 1, thread = 2, task = 16

  @Test func lookupsInUnreadableMemoryAreCounted() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    let before = try requests.unreadableCount()
    let page = try #require(mmap(nil, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0))
    let unreadable = UInt64(UInt(bitPattern: page))
    defer { munmap(page, 4096) }
    let counts = Mutex<[Int?]>([])
    let call = { @Sendable in
      program.call(1, row: 1)
      let count = try? requests.unreadableCount()
      counts.withLock { $0.append(count.map { $0 - before }) }
    }
    try await withPins(of: program.object, ["requests"]) { directory in
      let control = try openProgram(directory.appending("requests_control"))
      defer { try? control.close() }
      let bindings = FalseBindings()
      try TestThread {
        bindings.register(control, head: Self.thread, task: Self.current)
        call()
        bindings.words[Self.current] = unreadable
        call()
        bindings.words[Self.current] = bindings.address(Self.task)
        bindings.words[Self.task] = unreadable
        call()
        let word = unreadable &- UInt64(test_thread_pointer())
        FalseBindings.run(control, [3, FalseBindings.key, word, word, 0, 24])
        call()
        FalseBindings.run(control, [4, 0, 0, 0, 0, 0])
      }.join()
    }
    #expect(counts.withLock { $0 } == [0, 1, 2, 3])
    #expect(try program.seen()[1] == Seen(none: 4))
  }

  @Test func aCountThatIsTooLargeIsTheLargest() async throws {
    let program = try RequestProgram()
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    let map = try program.object.map("requests_processes")
    let handle = try MapHandle(map, for: "test")
    let pidfd = test_pidfd_open(getpid())
    try #require(pidfd >= 0)
    defer { close(pidfd) }
    var words = try [UInt64](repeating: 0, count: map.info.valueSize / 8)
    // Word 6 of `struct __swift_task_process`.
    for (count, expected) in [(1 << 32 - 1, 1 << 32 - 1), (1 << 32, 1 << 32 - 1), (5, 5)] {
      let lookup = words.withUnsafeMutableBufferPointer {
        handle.lookup(key: pidfd, into: $0.baseAddress!)
      }
      try #require(lookup == nil)
      words[6] = UInt64(count)
      try #require(handle.update(key: pidfd, value: words, .exists) == nil)
      #expect(try requests.unreadableCount() == expected)
    }
  }
}
