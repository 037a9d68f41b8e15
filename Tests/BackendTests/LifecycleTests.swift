// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Dispatch
import Glibc
import MmapStorage
import MmapStorageTesting
import SystemPackage
import TestSupport
import Testing

/// Ends of threads, forks of processes, and descriptor limits. Each test runs in a separate
/// process, because it counts resources of the whole process.
@Suite struct LifecycleTests {
  // MARK: Many threads, many storages

  @Test(.liveKernel, .atHardwareSpeed) func tenThousandThreadsInSequenceLeakNothingWithLookups()
    async
  {
    await #expect(processExitsWith: .success) {
      try threadsInSequence(.lookup, count: 10_000)
    }
  }

  @Test(.liveKernel, .threadPidfds, .atHardwareSpeed)
  func tenThousandThreadsInSequenceLeakNothingWithLookupsByPidfd()
    async
  {
    await #expect(processExitsWith: .success) {
      try threadsInSequence(.lookupByPidfd, count: 10_000)
    }
  }

  @Test(.atHardwareSpeed) func tenThousandThreadsInSequenceLeakNothingWithDirectAccess() async {
    await #expect(processExitsWith: .success) {
      try threadsInSequence(.fakeDirect, count: 10_000)
    }
  }

  @Test(.liveKernel, .atHardwareSpeed) func fiveHundredThreadsAtOnceLeakNothingWithLookups() async {
    await #expect(processExitsWith: .success) { try threadsAtOnce(.lookup, count: 500) }
  }

  @Test(.liveKernel, .threadPidfds, .atHardwareSpeed)
  func fiveHundredThreadsAtOnceLeakNothingWithLookupsByPidfd()
    async
  {
    await #expect(processExitsWith: .success) { try threadsAtOnce(.lookupByPidfd, count: 500) }
  }

  @Test(.atHardwareSpeed) func fiveHundredThreadsAtOnceLeakNothingWithDirectAccess() async {
    await #expect(processExitsWith: .success) { try threadsAtOnce(.fakeDirect, count: 500) }
  }

  @Test(.mmapableTaskStorage) func threadsInSequenceLeakNothingWithMappedPages() async {
    await #expect(processExitsWith: .success) { try threadsInSequence(.mapped, count: 2_000) }
  }

  @Test(.mmapableTaskStorage) func threadsAtOnceLeakNothingWithMappedPages() async {
    await #expect(processExitsWith: .success) { try threadsAtOnce(.mapped, count: 200) }
  }

  @Test(.userPages, .atHardwareSpeed) func tenThousandThreadsInSequenceLeakNothingWithUserPages()
    async
  {
    await #expect(processExitsWith: .success) { try threadsInSequence(.userPage, count: 10_000) }
  }

  @Test(.userPages) func fiveHundredThreadsAtOnceLeakNothingWithUserPages() async {
    await #expect(processExitsWith: .success) { try threadsAtOnce(.userPage, count: 500) }
  }

  // The last storage of a map unloads its programs: loading them again takes most of the time.
  @Test(.liveKernel, .atHardwareSpeed) func fiveHundredStoragesWithLookupsComeAndGo() async {
    await #expect(processExitsWith: .success) { try storagesComeAndGo(.lookup, count: 500) }
  }

  @Test(.userPages, .atHardwareSpeed) func tenThousandStoragesWithUserPagesComeAndGo() async {
    await #expect(processExitsWith: .success) { try storagesComeAndGo(.userPage, count: 10_000) }
  }

  @Test(.mmapableTaskStorage) func twoThousandStoragesWithMappedPagesComeAndGo() async {
    await #expect(processExitsWith: .success) { try storagesComeAndGo(.mapped, count: 2_000) }
  }

  @Test(.atHardwareSpeed) func tenThousandFakeStoragesComeAndGo() async {
    await #expect(processExitsWith: .success) {
      try comeAndGo(10_000) {
        try TaskLocalStorage<Tag>(backend: FakeBackend(layoutOf: Tag.self))
      }
    }
  }

  @Test(.liveKernel) func tenThousandStoragesAtOnce() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.values)
      try object.load()
      let map = try object.map("tags")
      let descriptors = try libraryDescriptors()
      var storages = try (0..<10_000).map { _ in try TaskLocalStorage<Tag>(map: map) }
      for storage in storages { try storage.withCurrent { $0.hits += 1 } }
      #expect(try storages[0].withCurrent { $0.hits } == 10_000)
      storages = []
      let left = try libraryDescriptors()
      #expect(left <= descriptors + 2, "\(left) after \(descriptors): pidfd and reserve are two")
    }
  }

  // MARK: Destructors

  @Test func aThreadThatTouchesInItsLastDestructorLeaksNothing() async {
    await #expect(processExitsWith: .success) {
      let fake = try FakeBackend(layoutOf: Tag.self)
      let storage = try TaskLocalStorage<Tag>(backend: fake)
      lastTouch.set(storage)
      // The library creates its key first, so that its destructor is called before this one.
      try storage.withCurrent { $0.hits = 1 }
      var key = pthread_key_t()
      pthread_key_create(&key) { value in
        pthread_setspecific(lastKey.get(), value)
        guard let storage = lastTouch.get() else { return }
        do { try storage.withCurrent { $0.hits += 1 } } catch { lastErrors.change { $0 += 1 } }
      }
      lastKey.set(key)
      for _ in 0..<3 {
        try TestThread {
          try storage.withCurrent { $0.hits = 1 }
          pthread_setspecific(lastKey.get(), UnsafeRawPointer(bitPattern: 1))
        }.join()
      }
      #expect(lastErrors.get() == 3, "the last of four rounds, in each thread")
      #expect(fake.attachedThreads == 1)
    }
  }

  @Test func storagesThatAreCreatedWhileAThreadEndsAreNotInItsDestructors() async {
    await #expect(processExitsWith: .success) {
      let backend = InterceptingBackend(try FakeBackend(layoutOf: Tag.self).storageBackend)
      let storage = try TaskLocalStorage<Tag>(backend: backend)
      lastTouch.set(storage)
      // The library creates its key first, so that its destructor is called before this one.
      try storage.withCurrent { $0.hits = 1 }
      var key = pthread_key_t()
      pthread_key_create(&key) { _ in
        // The memory that the library has freed is reused.
        for _ in 0..<200 { memset(malloc(1024), 0x41, 1024) }
        do { try lastTouch.get()?.withCurrent { $0.hits += 1 } } catch { lastErrors.set(1) }
      }
      lastKey.set(key)
      let more = Box<[TaskLocalStorage<Tag>]>([])
      backend.beforeDetach.set {
        // The tables of all threads grow.
        let thread = try? TestThread {
          for _ in 0..<40 {
            let other = try TaskLocalStorage<Tag>(backend: FakeBackend(layoutOf: Tag.self))
            more.change { $0.append(other) }
          }
        }
        try? thread?.join()
      }
      try TestThread {
        try storage.withCurrent { $0.hits = 7 }
        pthread_setspecific(lastKey.get(), UnsafeRawPointer(bitPattern: 1))
      }.join()
      #expect(more.get().count >= 40 && lastErrors.get() == 0)
    }
  }

  // MARK: Releasing a storage

  @Test func aThreadIsNotCancelledWhileItReleasesAStorage() async {
    await #expect(processExitsWith: .success) {
      let backend = InterceptingBackend(try FakeBackend(layoutOf: Tag.self).storageBackend)
      let last = Box<TaskLocalStorage<Tag>?>(try TaskLocalStorage(backend: backend))
      try last.get()?.withCurrent { $0.hits = 1 }
      let isDetached = Box(false)
      backend.beforeDetach.set {
        pthread_testcancel()
        isDetached.set(true)
      }
      try TestThread {
        pthread_cancel(pthread_self())
        last.set(nil)
      }.join()
      #expect(isDetached.get())
    }
  }

  @Test func aHandlerThatInterruptsAReleaseGetsAnError() async {
    await #expect(processExitsWith: .success) {
      let backend = InterceptingBackend(try FakeBackend(layoutOf: Tag.self).storageBackend)
      let last = Box<TaskLocalStorage<Tag>?>(try TaskLocalStorage(backend: backend))
      lastTouch.set(try TaskLocalStorage(backend: try FakeBackend(layoutOf: Tag.self)))
      signal(SIGUSR1) { _ in
        do throws(BPFError) {
          _ = try lastTouch.get()?.value(of: .thread(.current))
        } catch {
          if error.kind == .wrongState { lastErrors.set(1) }
        }
      }
      backend.beforeDetach.set { raise(SIGUSR1) }
      // Threads of Swift's pool block signals, and so do those that they create.
      try TestThread {
        var signals = sigset_t()
        sigaddset(&signals, SIGUSR1)
        pthread_sigmask(SIG_UNBLOCK, &signals, nil)
        try last.get()?.withCurrent { $0.hits = 1 }
        last.set(nil)
      }.join()
      #expect(lastErrors.get() == 1)
    }
  }

  // MARK: No memory left

  @Test(.mmapableTaskStorage) func aMappedPageStaysWhereItsRenewalFails() async {
    await #expect(processExitsWith: .success) {
      let cgroup = try MemoryCgroup()
      defer { cgroup.remove() }
      let storage = try cgroup.charging {
        try BackendUnderTest.mapped.fixture(Tag.self, map: "tags").storage
      }

      // Each processor caches some memory of the cgroup, and the kernel frees memory late. Other
      // threads use this memory, until none is left for this thread.
      try #require(test_stay_on_first_processor() == 0)
      let result = try storage.withCurrent { tag in
        Result {
          try cgroup.allowNoMore()
          let isOver = Gate()
          var others: [TestThread] = []
          var failure: BPFError?
          while failure == nil, others.count < 1_000 {
            let isFull = Box(false), tried = Gate()
            others.append(
              try TestThread {
                do { try storage.withCurrent { $0.hits = 1 } } catch { isFull.set(true) }
                tried.open()
                isOver.wait()
              }
            )
            tried.wait()
            guard isFull.get() else { continue }
            tag.hits = 7
            try storage.removeValue(of: .callingThread)
            do throws(BPFError) { try storage.withCurrent { $0.hits = 1 } } catch {
              failure = error
            }
          }
          #expect(failure?.errno == .noMemory)
          tag.hits += 1
          #expect(tag.hits == 8)
          try cgroup.allowAll()
          isOver.open()
          for thread in others { try thread.join() }
        }
      }
      try result.get()
      #expect(try storage.withCurrent { $0.hits } == 0)
    }
  }

  @Test(.liveKernel, .memoryCgroups) func aThreadWhoseValueCannotBeCreatedGetsAnError() async {
    await #expect(processExitsWith: .success) {
      let cgroup = try MemoryCgroup()
      defer { cgroup.remove() }
      let storage = try cgroup.charging {
        try BackendUnderTest.lookup.fixture(Tag.self, map: "tags").storage
      }
      try storage.withCurrent { $0.hits = 1 }
      try cgroup.allowNoMore()
      // Each processor caches some elements.
      let isOver = Gate()
      var threads: [TestThread] = []
      let failure = Box<BPFError?>(nil)
      while failure.get() == nil, threads.count < 3_000 {
        let hasTried = Gate()
        threads.append(
          try TestThread(stackSize: 64 * 1024) {
            do throws(BPFError) { try storage.withCurrent { $0.hits = 1 } } catch {
              failure.set(error)
            }
            hasTried.open()
            isOver.wait()
          }
        )
        hasTried.wait()
      }
      let error = failure.get()
      #expect(error?.kind == .outOfResources && error?.errno == .noMemory, "\(error as Any)")
      try cgroup.allowAll()
      isOver.open()
      for thread in threads { try thread.join() }
      try TestThread { try storage.withCurrent { $0.hits = 1 } }.join()
      #expect(try storage.withCurrent { $0.hits } == 1)
    }
  }

  // MARK: No descriptors left

  @Test(.liveKernel, .threadPidfds) func moreThreadsThanDescriptorsWithLookupsByPidfd() async {
    await #expect(processExitsWith: .success) { try moreThreadsThanDescriptors(.lookupByPidfd) }
  }

  @Test(.userPages) func moreThreadsThanDescriptorsWithUserPages() async {
    await #expect(processExitsWith: .success) { try moreThreadsThanDescriptors(.userPage) }
  }

  @Test(.liveKernel, .threadPidfds) func aThreadAttachesWithoutFreeDescriptors() async {
    await #expect(processExitsWith: .success) {
      let storage = try BackendUnderTest.lookupByPidfd.fixture(Tag.self, map: "tags").storage
      // From here on, the library has its reserved descriptor.
      try storage.withCurrent { $0.requestID = 1 }
      let mine = try takeAllDescriptors()
      try TestThread {
        for round in 1...10 {
          try storage.withCurrent { $0.requestID = UInt64(round) }
          try storage.withCurrent { #expect($0.requestID == UInt64(round)) }
        }
      }.join()
      #expect(try storage.withCurrent { $0.requestID } == 1)
      for descriptor in mine { try descriptor.close() }
      try TestThread { try storage.withCurrent { $0.requestID = 1 } }.join()
    }
  }

  @Test(.liveKernel, .threadPidfds) func noDescriptorForTheFirstThread() async {
    await #expect(processExitsWith: .success) {
      let storage = try BackendUnderTest.lookupByPidfd.fixture(Tag.self, map: "tags").storage
      let mine = try takeAllDescriptors()
      let error = #expect(throws: BPFError.self) {
        try storage.withCurrent { $0.requestID = 1 }
      }
      #expect(error?.kind == .outOfResources)
      #expect(error?.advice.contains("RLIMIT_NOFILE") == true)
      for descriptor in mine { try descriptor.close() }
      try storage.withCurrent { $0.requestID = 1 }
    }
  }

  // MARK: Fork

  @Test(.threadPidfds, .liveKernel) func theChildOfAForkStartsUnattachedWithLookups() async {
    await #expect(processExitsWith: .success) { try forkWithOneView(.lookup) }
  }

  @Test(.liveKernel, .threadPidfds) func theChildOfAForkStartsUnattachedWithLookupsByPidfd() async {
    await #expect(processExitsWith: .success) { try forkWithOneView(.lookupByPidfd) }
  }

  /// The attachments of other threads may not be mapped in the child.
  @Test func theChildOfAForkDetachesNoThreadOfItsParent() async {
    await #expect(processExitsWith: .success) {
      let intercepting = InterceptingBackend(try FakeBackend(layoutOf: Tag.self).storageBackend)
      let detached = Box(0)
      intercepting.beforeDetach.set { detached.change { $0 += 1 } }
      let storage = Box<TaskLocalStorage<Tag>?>(try TaskLocalStorage(backend: intercepting))
      let attached = Gate(), mayEnd = Gate()
      let thread = try TestThread {
        try storage.get()?.withCurrent { $0.hits = 1 }
        attached.open()
        mayEnd.wait()
      }
      attached.wait()
      try storage.get()?.withCurrent { $0.hits = 2 }
      try inChild {
        try storage.get()?.withCurrent { $0.hits = 3 }
        storage.set(nil)
        try check(detached.get() == 1)
      }
      mayEnd.open()
      try thread.join()
    }
  }

  @Test func theChildOfAForkStartsUnattachedWithDirectAccess() async {
    await #expect(processExitsWith: .success) { try forkWithOneView(.fakeDirect) }
  }

  @Test(.userPages) func theChildOfAForkStartsUnattachedWithUserPages() async {
    await #expect(processExitsWith: .success) { try forkWithOneView(.userPage) }
  }

  @Test(.mmapableTaskStorage) func theChildOfAForkStartsUnattachedWithMappedPages() async {
    await #expect(processExitsWith: .success) { try forkWithOneView(.mapped) }
  }

  @Test(.threadPidfds, .liveKernel) func forksWhileThreadsAttachAndEnd() async {
    await #expect(processExitsWith: .success) {
      let storage = try BackendUnderTest.lookup.fixture(Tag.self, map: "tags").storage
      let useStorage = {
        try storage.removeValue(of: .thread(.current))
        let earlier = try storage.withCurrent { tag in
          let earlier = tag.requestID
          tag.requestID = 1
          return earlier
        }
        try check(earlier == 0)
        try TestThread { try storage.withCurrent { $0.requestID = 2 } }.join()
        try check(try storage.withCurrent { $0.requestID } == 1)
      }
      // The Swift runtime creates a type's metadata at its first use, with a lock held that stays
      // held in a child. So everything is used once before the first fork.
      try useStorage()
      let stop = Box(false)
      let threads = try (0..<4).map { _ in
        try TestThread {
          while !stop.get() {
            // Threads start and end, so that the registry's lock is held much of the time.
            try TestThread { try storage.withCurrent { $0.hits += 1 } }.join()
          }
        }
      }
      for _ in 0..<100 { try inChild(useStorage) }
      stop.set(true)
      for thread in threads { try thread.join() }
    }
  }

  /// A child must not wait for a thread of its parent that was in a call of the fake.
  @Test func forksWhileThreadsCallAFake() async {
    await #expect(processExitsWith: .success) {
      let fake = try FakeBackend(layoutOf: Tag.self)
      let callFake = { @Sendable in
        fake.write([1], into: .current)
        try check(fake.bytes(of: .current)?.first == 1)
        try check(fake.removeValue(of: .current))
      }
      try callFake()
      let stop = Box(false)
      let threads = try (0..<3).map { _ in
        try TestThread { while !stop.get() { try callFake() } }
      }
      for _ in 0..<100 { try inChild(callFake) }
      stop.set(true)
      for thread in threads { try thread.join() }
    }
  }
}

// MARK: Helpers

private func threadsInSequence(_ backend: BackendUnderTest, count: Int) throws {
  let fixture = try backend.fixture(Tag.self, map: "tags")
  func run(_ count: Int) throws {
    for _ in 0..<count {
      try TestThread { try fixture.storage.withCurrent { $0.requestID += 1 } }.join()
    }
  }
  try run(100)
  let before = try (libraryDescriptors(), heapBytes(), mappings())
  try run(count)
  let after = try (libraryDescriptors(), heapBytes(), mappings())
  #expect(after.0 == before.0)
  // One page for each thread would be 40 MB; so would one mapping for each.
  #expect(after.1 - before.1 < 256 * 1024, "\(after.1 - before.1) bytes")
  #expect(after.2 - before.2 < 50)
  if let fake = fixture.fake {
    #expect(fake.attachedThreads == 0)
    #expect(fake.storageCount == 0)
  }
}

private func threadsAtOnce(_ backend: BackendUnderTest, count: Int) throws {
  let fixture = try backend.fixture(Tag.self, map: "tags")
  func run() throws {
    let attached = Gate(), ready = Box(0)
    let threads = try (0..<count).map { number in
      try TestThread {
        try fixture.storage.withCurrent { $0.requestID = UInt64(number) }
        ready.change { $0 += 1 }
        if ready.get() == count { attached.open() }
        attached.wait()
        try fixture.storage.withCurrent { #expect($0.requestID == UInt64(number)) }
      }
    }
    for thread in threads { try thread.join() }
  }
  try run()
  let before = try (libraryDescriptors(), heapBytes())
  for _ in 0..<4 { try run() }
  let after = try (libraryDescriptors(), heapBytes())
  #expect(after.0 == before.0)
  #expect(after.1 - before.1 < 256 * 1024, "\(after.1 - before.1) bytes")
  if let fake = fixture.fake {
    #expect(fake.attachedThreads == 0)
    #expect(fake.storageCount == 0)
  }
}

private func storagesComeAndGo(_ kind: BackendKind, count: Int) throws {
  let object = try BPFObject(.values, allowing: [kind])
  try object.load()
  let map = try object.map("tags")
  try comeAndGo(count) { try TaskLocalStorage<Tag>(map: map, allowing: [kind]) }
}

private func comeAndGo(_ count: Int, _ make: () throws -> TaskLocalStorage<Tag>) throws {
  func run(_ count: Int) throws {
    for _ in 0..<count { try make().withCurrent { $0.hits += 1 } }
  }
  try run(100)
  let before = try (libraryDescriptors(), heapBytes())
  try run(count)
  let after = try (libraryDescriptors(), heapBytes())
  #expect(after.0 == before.0)
  // About 17 kB are allocated once, whatever the number of rounds.
  #expect(after.1 - before.1 < 32 * 1024, "\(after.1 - before.1) bytes")
}

private func forkWithOneView(_ backend: BackendUnderTest) throws {
  let storage = try backend.fixture(Tag.self, map: "tags").storage
  try storage.withCurrent { $0.requestID = 1 }
  let parent = ThreadID.current
  try inChild {
    let before = try storage.withCurrent { $0.requestID }
    try check(before == 0)
    try storage.withCurrent { $0.requestID = 2 }
    try check(try storage.withCurrent { $0.requestID } == 2)
    try TestThread { try storage.withCurrent { $0.requestID = 3 } }.join()
    try check(try storage.withCurrent { $0.requestID } == 2)
    if backend != .fakeDirect, backend != .userPage {
      try check(try storage.value(of: .thread(parent))?.requestID == 1)
    }
  }
  #expect(try storage.withCurrent { $0.requestID } == 1)

  // The child does not inherit mapped pages.
  if backend == .mapped { return }
  // A view that is in use across the fork stays usable on both sides.
  let child = try storage.withCurrent { tag in
    tag.priority = 1
    let child = Result {
      try inChild {
        tag.priority += 1
        try check(tag.priority == 2)
      }
    }
    #expect(tag.priority == 1)
    return child
  }
  try child.get()
  #expect(try storage.withCurrent { $0.priority } == 1)
}

/// Two descriptors are left for a hundred threads.
private func moreThreadsThanDescriptors(_ backend: BackendUnderTest) throws {
  let storage = try backend.fixture(Tag.self, map: "tags").storage
  try limitDescriptors(leaving: 2)
  let attached = Gate()
  let ready = Box(0)
  let threads = try (0..<100).map { number in
    try TestThread {
      try storage.withCurrent { $0.requestID = UInt64(number) }
      ready.change { $0 += 1 }
      if ready.get() == 100 { attached.open() }
      attached.wait()
      for _ in 0..<20 {
        try storage.withCurrent { tag in
          #expect(tag.requestID == UInt64(number))
          tag.hits += 1
        }
      }
      #expect(try storage.value(of: .thread(.current))?.hits == 20)
    }
  }
  for thread in threads { try thread.join() }
}

private let lastTouch = Box<TaskLocalStorage<Tag>?>(nil)
private let lastKey = Box(pthread_key_t())
private let lastErrors = Box(0)

private struct ChildFailed: Error { var status: Int32 }

private struct CheckFailed: Error { var line: Int }

/// Replaces `#expect`, whose result the child of a fork cannot report.
private func check(_ condition: Bool, line: Int = #line) throws {
  if !condition { throw CheckFailed(line: line) }
}

/// Runs `body` in the child of a fork, and throws if the child reports an error.
private func inChild(_ body: () throws -> Void) throws {
  let child = test_fork()
  guard child >= 0 else { throw Errno(rawValue: -child) }
  if child == 0 {
    do {
      try body()
      _exit(0)
    } catch {
      print("in the child: \(error)")
      fflush(nil)
      _exit(1)
    }
  }
  var status: Int32 = 0
  while waitpid(child, &status, 0) < 0, errno == EINTR {}
  guard status == 0 else { throw ChildFailed(status: status) }
}

/// The number of descriptors of the process.
private func openDescriptors() throws -> Int { try descriptorLinks().count }

/// The number of descriptors of maps, programs, type information and pidfds. The runtime and
/// Dispatch open others at any time.
func libraryDescriptors() throws -> Int {
  try descriptorLinks().count { link in
    ["anon_inode:bpf", "anon_inode:btf", "anon_inode:[pidfd]", "pidfd:"].contains {
      link.hasPrefix($0)
    }
  }
}

private func descriptorLinks() throws -> [String] {
  guard let directory = opendir("/proc/self/fd") else { throw Errno(rawValue: errno) }
  defer { closedir(directory) }
  var links: [String] = []
  while let entry = readdir(directory) {
    var target = [UInt8](repeating: 0, count: 256)
    let length = withUnsafePointer(to: &entry.pointee.d_name) {
      $0.withMemoryRebound(to: CChar.self, capacity: 256) { name in
        readlinkat(dirfd(directory), name, &target, target.count)
      }
    }
    if length > 0 { links.append(String(decoding: target.prefix(length), as: UTF8.self)) }
  }
  return links
}

private func heapBytes() -> Int { Int(test_heap_bytes()) }

private func mappings() throws -> Int {
  let file = try FileDescriptor.open("/proc/self/maps", .readOnly, options: .closeOnExec)
  defer { try? file.close() }
  return try withUnsafeTemporaryAllocation(byteCount: 65536, alignment: 1) { buffer in
    var lines = 0
    while case let count = try file.read(into: buffer), count > 0 {
      lines += buffer.prefix(count).count { $0 == UInt8(ascii: "\n") }
    }
    return lines
  }
}

private func limitDescriptors(leaving more: Int) throws {
  letDispatchOpenItsDescriptors()
  var limit = rlimit()
  guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
    throw Errno(rawValue: errno)
  }
  limit.rlim_cur = rlim_t(try openDescriptors() + more)
  guard setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else {
    throw Errno(rawValue: errno)
  }
}

/// Dispatch opens some at its first wait, which may be at any time, and ends the process if it
/// cannot.
private func letDispatchOpenItsDescriptors() {
  let fired = DispatchSemaphore(value: 0)
  let timer = DispatchSource.makeTimerSource()
  timer.setEventHandler { fired.signal() }
  timer.schedule(deadline: .now())
  timer.resume()
  fired.wait()
  timer.cancel()
}

/// Opens files until there are no descriptors left.
func takeAllDescriptors() throws -> [FileDescriptor] {
  try limitDescriptors(leaving: 64)
  var taken: [FileDescriptor] = []
  while true {
    do {
      taken.append(try FileDescriptor.open("/dev/null", .readOnly, options: .closeOnExec))
    } catch Errno.tooManyOpenFiles {
      return taken
    }
  }
}
