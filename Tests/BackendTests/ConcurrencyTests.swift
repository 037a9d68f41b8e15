// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Foundation
import MmapStorage
import MmapStorageTesting
import SystemPackage
import TestSupport
import Testing

/// Threads and storages end while other threads access values.
@Suite struct ConcurrencyTests {
  @Test func aThreadDoesNotEndWhileItIsDetached() throws {
    let intercepting = InterceptingBackend(try FakeBackend(layoutOf: Tag.self).storageBackend)
    let storage = Box<TaskLocalStorage<Tag>?>(try TaskLocalStorage(backend: intercepting))
    let attached = Gate(), mayEnd = Gate()
    let id = Box(ThreadID(rawValue: 0))
    let existed = Box(false)
    let thread = try TestThread {
      try storage.get()?.withCurrent { $0.hits = 1 }
      id.set(.current)
      attached.open()
      mayEnd.wait()
    }
    attached.wait()
    intercepting.beforeDetach.set {
      let thread = id.get()
      func waits() -> String? { waitingFutex(of: thread) }
      var gate = waits()
      while gate == nil { gate = waits() }
      mayEnd.open()
      // It ends, or waits for another object.
      while test_thread_exists(thread.rawValue) != 0, [nil, gate].contains(waits()) {}
      existed.set(test_thread_exists(thread.rawValue) != 0)
    }
    storage.set(nil)
    try thread.join()
    #expect(existed.get())
  }

  @Test(.userPages, .atHardwareSpeed) func aPageIsNotUnmappedWhileAnotherThreadUsesIt() async {
    await #expect(processExitsWith: .success) {
      let storage = try BackendUnderTest.userPage.fixture(Tag.self, map: "tags").storage
      let id = Box(ThreadID.current), isOver = Box(false)
      // Some calls find threads that are registering their page.
      let others = try [false, true].map { isWriting in
        try TestThread {
          while !isOver.get() {
            do throws(BPFError) {
              if isWriting {
                try storage.setValue(Tag(), of: .thread(id.get()))
              } else {
                _ = try storage.value(of: .thread(id.get()))
              }
            } catch {
              guard error.kind == .noSuchTask || error.kind == .notFound else { throw error }
            }
          }
        }
      }
      for _ in 0..<3_000 {
        try TestThread {
          id.set(.current)
          try storage.withCurrent { _ in }
        }.join()
      }
      isOver.set(true)
      for other in others { try other.join() }
    }
  }

  @Test(.liveKernel, .threadPidfds) func manyThreadsShareOneReservedDescriptor() async {
    await #expect(processExitsWith: .success) {
      let storage = try BackendUnderTest.lookupByPidfd.fixture(Tag.self, map: "tags").storage
      // From here on, the library has its reserved descriptor.
      try storage.withCurrent { $0.requestID = 1 }
      let start = Gate()
      let threads = try (0..<8).map { number in
        // The first allocation of a thread may open a file of the C library.
        let allocated = Box<Box<Int>?>(nil)
        let thread = try TestThread {
          allocated.set(Box(number))
          start.wait()
          for round in 1...(LiveKernel.isEmulated ? 500 : 5_000) {
            let value = UInt64(number * 10_000 + round)
            try storage.withCurrent { $0.requestID = value }
            let read = try storage.withCurrent { $0.requestID }
            try #require(read == value)
          }
        }
        while allocated.get() == nil { sched_yield() }
        return thread
      }
      let mine = try takeAllDescriptors()
      start.open()
      for thread in threads { try thread.join() }
      for descriptor in mine { try descriptor.close() }
    }
  }

  @Test(.liveKernel, .threadPidfds)
  func settingAnotherThreadsValueKeepsWhatItsProgramWritesMeanwhile() throws {
    let object = try BPFObject(.values, allowing: [.lookup])
    try object.load()
    let backend = try LookupBackend(object.map("tags"))
    let storage = try TaskLocalStorage<Tag>(backend: backend)
    let here = ThreadID.current
    let isOver = Box(false)
    // Writes its own field in place, as a program in the kernel does.
    let other = try TestThread {
      let flags = MemoryLayout<Tag>.offset(of: \.flags) ?? 0
      let bytes = [UInt8](repeating: 1, count: MemoryLayout<Tag>.size)
      while !isOver.get() {
        try bytes.withUnsafeBytes { try backend.store(.thread(here), [flags..<flags + 4], of: $0) }
      }
    }
    var rounds = 0
    do {
      defer { isOver.set(true) }
      for round in 1...20_000 {
        try storage.withCurrent { $0.hits = UInt64(round) }
        // If a view wrote an old value back, "hits" would decrease.
        let hits = try storage.withCurrent { $0.hits }
        try #require(hits == UInt64(round))
        rounds += 1
      }
    }
    try other.join()
    #expect(rounds == 20_000)
  }

  @Test(.liveKernel) func threadsThatDoNotExistHaveNoValue() throws {
    let object = try BPFObject(.values, allowing: [.lookup])
    try object.load()
    let storage = try TaskLocalStorage<Tag>(map: object.map("tags"), allowing: [.lookup])
    for id in [Int32.max, 0, -1] {
      let thread = ThreadID(rawValue: id)
      for error in [
        #expect(throws: BPFError.self) { try storage.value(of: .thread(thread)) },
        #expect(throws: BPFError.self) { try storage.setValue(Tag(), of: .thread(thread)) },
        #expect(throws: BPFError.self) { try storage.removeValue(of: .thread(thread)) },
      ] {
        #expect(error?.kind == .noSuchTask || error?.kind == .invalidArgument)
      }
    }
  }

  @Test(.userPages) func aReadOnlyDescriptorTakesNoPages() throws {
    let object = try BPFObject(.values, allowing: [.userPage])
    try object.load()
    let path = FilePath("/sys/fs/bpf/mmapstorage-read-only-\(getpid())")
    let map = try object.map("tags")
    try map.pin(at: path)
    defer { try? map.unpin(at: path) }
    let readOnly = try BPFMap(pinnedAt: path, readOnly: true)
    let error = #expect(throws: BPFError.self) { try UserPageBackend(readOnly) }
    #expect(error?.kind == .permissionDenied)
    #expect(error?.advice.contains("read-only") == true)
  }

  @Test(.userPages) func aPageStaysWhereItsElementIsNotRemoved() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.values, allowing: [.userPage])
      try object.load()
      let map = try object.map("tags")
      let backend = try UserPageBackend(map)
      let page = try backend.attach()
      // Without its descriptor, the element cannot be removed.
      try #require(try map.withDescriptor { close($0.rawValue) } == 0)
      backend.detach(page, because: .storageEnds)
      #expect(test_is_mapped(page) == 1)
    }
  }
}

/// The address of the futex that a thread of this process waits for; nil if it does not wait for one.
private func waitingFutex(of thread: ThreadID) -> String? {
  let path = "/proc/self/task/\(thread)/syscall"
  let words = (try? String(contentsOfFile: path, encoding: .utf8))?.split(separator: " ") ?? []
  guard words.count > 1, words[0] == "\(SYS_futex)" else { return nil }
  return String(words[1])
}
