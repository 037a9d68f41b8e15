// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage
import TestSupport
import Testing

private typealias OneByte = Pages.OneByte
private typealias OnePage = Pages.OnePage
private typealias PageAndByte = Pages.PageAndByte
private typealias Counter = Pages.Counter

/// pages.bpf.c, loaded for this process and attached.
private struct PagesProgram {
  let object: BPFObject

  init(allowing backends: Set<BackendKind> = Set(BackendKind.allCases)) throws {
    object = try BPFObject(.pages, allowing: backends)
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    try object.attach()
  }

  func storage<Value: MapField>(
    _ type: Value.Type,
    _ map: String
  ) throws -> TaskLocalStorage<Value> {
    try TaskLocalStorage(map: object.map(map))
  }
}

/// Properties of pages that threads share with the kernel.
@Suite(.userPages) struct UserPageTests {
  @Test func aValueOfOneByteAndOneOfAWholePage() throws {
    let program = try PagesProgram(allowing: [.userPage, .lookup])
    let pages = try program.storage(OnePage.self, "pages")
    #expect(pages.backend.kind == .userPage)
    try pages.withCurrent { page in
      let before = page.calls
      for _ in 0..<10 { _ = getpid() }  // some libcs keep the number …
      for _ in 0..<10 { sched_yield() }
      #expect(page.calls >= before + 10)
      #expect(page.last == page.calls)
      #expect(page.words[509] == 0)
    }
    let bytes = try program.storage(OneByte.self, "bytes")
    #expect(bytes.backend.kind == .userPage)
    try bytes.withCurrent { byte in
      let before = byte.calls
      sched_yield()
      #expect(byte.calls == before &+ 1)
    }
  }

  /// The kernel is tested at the first load, which can fail for another reason than a missing feature.
  @Test func descriptorsThatRunOutAtTheFirstLoadDisableNoBackend() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.pages)
      try withoutFreeDescriptors {
        let error = #expect(throws: BPFError.self) { try object.load() }
        #expect(error?.kind == .outOfResources)
      }
      let choice = try PagesProgram().storage(Counter.self, "by_header").backend
      #expect(choice.kind == LiveKernel.backends.first, "\(choice.explanation)")
      #expect(!choice.explanation.contains("Too many open files"), "\(choice.explanation)")
    }
  }

  @Test func aValueThatIsLargerThanAPageIsLookedUp() throws {
    let program = try PagesProgram(allowing: [.userPage, .lookup])
    let storage = try program.storage(PageAndByte.self, "too_large")
    #expect(storage.backend.kind == .lookup)
    #expect(storage.backend.explanation.contains("a value has 4097 bytes, and a page 4096"))
    try storage.withCurrent { $0.bytes[0] = 1 }
    #expect(try storage.withCurrent { $0.bytes[4096] } > 0)
  }

  @Test func aMapThatIsDeclaredDirect() throws {
    let program = try PagesProgram(allowing: [.userPage, .lookup])
    let storage = try program.storage(Counter.self, "directs")
    #expect(storage.backend.kind == .lookup)
    #expect(storage.backend.explanation.contains("the map's elements are the values themselves"))
    // The program created it.
    #expect(try storage.value(of: .callingThread) != nil)
  }

  @Test func aMapThatIsDeclaredForUserPagesAlone() throws {
    let object = try BPFObject(.onlyPages)
    #expect(object.mapNames == ["counters"])
    try object.load()
    let storage = try TaskLocalStorage<Counter>(map: object.map("counters"))
    #expect(storage.backend.kind == .userPage)
    let error = #expect(throws: BPFError.self) { try LookupBackend(object.map("counters")) }
    #expect(error?.kind == .wrongType)
    let direct = try EchoProgram(allowing: [.lookup]).object.map("echoes")
    #expect(throws: BPFError.self) { try UserPageBackend(direct) }
  }

  @Test func theMapsOfTheObjectAreTheDeclaredOnes() throws {
    let object = try PagesProgram(allowing: [.userPage]).object
    let declared: Set = ["bytes", "pages", "too_large", "directs", "by_header"]
    #expect(Set(object.mapNames) == declared && object.mapNames.count == declared.count)
    #expect(try object.maps().map(\.name) == object.mapNames)
    #expect(try object.map("pages").info.valueSize == 8)
    let layout = try object.layout(ofMap: "pages")
    #expect(layout.isInUserPage && layout.name == "one_page" && layout.type.size == 4096)
    #expect(try BPFObject(.pages, allowing: []).layout(ofMap: "pages").type == layout.type)
    // The type information in the kernel is the same.
    let adopted = try BPFMap(adopting: object.map("pages").duplicateDescriptor())
    #expect(try adopted.valueLayout() == layout)
    #expect(try TaskLocalStorage<OnePage>(map: adopted).backend.kind == .userPage)
  }

  @Test func aWrongLayoutIsFoundBehindThePointer() throws {
    struct Wrong: MapValue {
      var calls: UInt32
      var more: UInt32
    }
    let program = try PagesProgram(allowing: [.userPage])
    let error = #expect(throws: BPFError.self) { try program.storage(Wrong.self, "by_header") }
    #expect(error?.kind == .layoutMismatch)
    #expect(error?.details.contains("struct counter") == true)
  }

  @Test func aNewPageHasTheInitialBytes() throws {
    let program = try PagesProgram(allowing: [.userPage])
    let map = try program.object.map("by_header")
    let storage = try TaskLocalStorage<Counter>(
      backend: UserPageBackend(map, initialBytes: [7, 1])
    )
    #expect(try storage.withCurrent { $0.calls } == 0x107)
    try TestThread {
      let first = try storage.withCurrent { $0.calls }
      #expect(first == 0x107)
    }.join()
    try storage.removeValue(of: .callingThread)
    #expect(try storage.withCurrent { $0.calls } == 0x107)
    #expect(throws: BPFError.self) {
      try UserPageBackend(map, initialBytes: Array(repeating: 0, count: 9))
    }
  }

  @Test func aThreadHasNoValueBeforeItsFirstTouch() throws {
    let program = try PagesProgram(allowing: [.userPage])
    let storage = try program.storage(OnePage.self, "pages")
    let ready = Gate(), done = Gate()
    let id = Box(ThreadID(rawValue: 0))
    let thread = try TestThread {
      id.set(.current)
      ready.open()
      done.wait()
      let before = try storage.value(of: .callingThread)
      #expect(before == nil)
      try storage.withCurrent { #expect($0.words[0] == 0) }
      let after = try storage.value(of: .callingThread)
      #expect(after != nil)
    }
    ready.wait()
    #expect(try storage.value(of: .thread(id.get())) == nil)
    try storage.withCurrent { _ in }
    let value = try #require(try storage.value(of: .callingThread))
    let error = #expect(throws: BPFError.self) {
      try storage.setValue(value, of: .thread(id.get()))
    }
    #expect(error?.kind == .notFound)
    #expect(error?.advice.contains("withCurrent") == true)
    done.open()
    try thread.join()
  }

  @Test func twoStoragesOfOneMapShareThePage() throws {
    let program = try PagesProgram(allowing: [.userPage])
    var first: TaskLocalStorage<Counter>? = try program.storage(Counter.self, "by_header")
    let second = try program.storage(Counter.self, "by_header")
    try first?.withCurrent { $0.calls = 5 }
    #expect(try second.withCurrent { $0.calls } == 5)
    first = nil
    #expect(try second.value(of: .callingThread)?.calls == 5)
  }

  @Test func aStorageThatComesAfterARemovalStartsFromZero() throws {
    let program = try PagesProgram(allowing: [.userPage])
    let first = try program.storage(Counter.self, "by_header")
    try first.withCurrent { $0.calls = 5 }
    try first.removeValue(of: .callingThread)
    let second = try program.storage(Counter.self, "by_header")
    #expect(try second.withCurrent { $0.calls } == 0)
    try second.withCurrent { $0.calls = 6 }
    #expect(try second.value(of: .callingThread)?.calls == 6)
    #expect(try first.withCurrent { $0.calls } == 6)
  }

  @Test func aThreadTouchesWhileAnotherRemoves() throws {
    // On two maps: the kernel returns EAGAIN while the task's last storage of any map is being
    // removed.
    let program = try PagesProgram(allowing: [.userPage])
    let other = try PagesProgram(allowing: [.userPage])
    let storages = try [program, other].map { try $0.storage(Counter.self, "by_header") }
    let here = ThreadID.current
    let isOver = Box(false)
    let remover = try TestThread {
      while !isOver.get() { for storage in storages { try storage.removeValue(of: .thread(here)) } }
    }
    do {
      defer { isOver.set(true) }
      for round in 0..<20_000 {
        for storage in storages {
          try storage.withCurrent { $0.calls = UInt64(round) }
          try storage.removeValue(of: .callingThread)
        }
      }
    }
    try remover.join()
  }

  @Test func nothingIsStoredOutsideOfTheValue() throws {
    let backend = try UserPageBackend(PagesProgram(allowing: [.userPage]).object.map("bytes"))
    let attachment = try backend.attach()
    defer { backend.detach(attachment, because: .storageEnds) }
    let size = Int(getpagesize())
    let bytes = [UInt8](repeating: 1, count: 2 * size)
    let error = try #require(
      #expect(throws: BPFError.self) {
        try bytes.withUnsafeBytes { try backend.store(.callingThread, [size..<size + 8], of: $0) }
      }
    )
    #expect(error.kind == .invalidArgument)
  }

  @Test func theObjectIsLoadedAgainWhileThreadsAreAttached() throws {
    let attached = Gate(), again = Gate()
    let ready = Box(0)
    let old = try PagesProgram(allowing: [.userPage]).storage(Counter.self, "by_header")
    let new = Box<TaskLocalStorage<Counter>?>(nil)
    let threads = try (1...8).map { number in
      try TestThread {
        try old.withCurrent { $0.calls = UInt64(number) }
        ready.change { $0 += 1 }
        if ready.get() == 8 { attached.open() }
        again.wait()
        let new = try #require(new.get())
        try new.withCurrent { counter in
          #expect(counter.calls == 0)
          counter.calls = UInt64(number * 10)
        }
        try old.withCurrent { #expect($0.calls == UInt64(number)) }
      }
    }
    attached.wait()
    new.set(try PagesProgram(allowing: [.userPage]).storage(Counter.self, "by_header"))
    again.open()
    for thread in threads { try thread.join() }
  }

  // MARK: Memory

  @Test func thePageBelongsToNothingElse() throws {
    let backend = try UserPageBackend(PagesProgram(allowing: [.userPage]).object.map("bytes"))
    let address = try backend.attach()
    #expect(UInt(bitPattern: address) % UInt(getpagesize()) == 0)
    let page = UnsafeRawBufferPointer(start: address, count: Int(getpagesize()))
    #expect(page.dropFirst(1).allSatisfy { $0 == 0 })
    #expect(test_is_mapped(address) == 1)
    backend.detach(address, because: .storageEnds)
    #expect(test_is_mapped(address) == 0)
  }

  /// An element keeps its page pinned, and a page that is still mapped was not released.
  @Test func endedThreadsLeaveNoPages() async {
    await #expect(processExitsWith: .success) {
      let program = try PagesProgram(allowing: [.userPage])
      let backend = try UserPageBackend(program.object.map("pages"))
      let storage = try TaskLocalStorage<OnePage>(backend: backend)
      // From here on, the library has its reserve of one descriptor for all threads.
      try storage.withCurrent { $0.words[0] = 1 }
      let pidfds = try descriptors("pidfd").count
      let attached = Gate(), done = Gate(), pages = Box<[UInt]>([])
      let threads = try (0..<100).map { _ in
        try TestThread {
          try storage.withCurrent { $0.words[0] = 1 }
          let page = try backend.attach()
          backend.detach(page, because: .storageEnds)
          pages.change { $0.append(UInt(bitPattern: page)) }
          if pages.get().count == 100 { attached.open() }
          done.wait()
        }
      }
      attached.wait()
      let found = pages.get().compactMap { UnsafeMutableRawPointer(bitPattern: $0) }
      #expect(Set(found).count == 100 && found.allSatisfy { test_is_mapped($0) == 1 })
      #expect(try descriptors("pidfd").count == pidfds)
      done.open()
      for thread in threads { try thread.join() }
      #expect(found.allSatisfy { test_is_mapped($0) == 0 })
    }
  }

  @Test func nothingIsWrittenToMemoryThatIsUsedForSomethingElse() async {
    await #expect(processExitsWith: .success) {
      let program = try PagesProgram(allowing: [.userPage])
      let backend = try UserPageBackend(program.object.map("pages"))
      let storage = try TaskLocalStorage<OnePage>(backend: backend)
      let size = Int(getpagesize())
      var taken = 0
      defer { #expect(taken > 0, "no address was ever free, so this showed nothing") }
      for _ in 0..<200 {
        let address = Box(UInt(0))
        try TestThread {
          try storage.withCurrent { $0.words[0] = 1 }
          // The same page, because there is one for each map.
          let page = try backend.attach()
          address.set(UInt(bitPattern: page))
          backend.detach(page, because: .threadEnds)
        }.join()
        // The thread's page is free; another mapping uses its address.
        let other = mmap(
          UnsafeMutableRawPointer(bitPattern: address.get()),
          size,
          PROT_READ | PROT_WRITE,
          MAP_PRIVATE | MAP_ANONYMOUS | 0x100000 /* MAP_FIXED_NOREPLACE */,
          -1,
          0
        )
        guard let other, other != MAP_FAILED else { continue }
        taken += 1
        memset(other, 0x5a, size)
        try TestThread {
          for _ in 0..<20 { sched_yield() }
          try storage.withCurrent { $0.words[1] = 1 }
        }.join()
        let bytes = UnsafeRawBufferPointer(start: other, count: size)
        #expect(bytes.allSatisfy { $0 == 0x5a })
        munmap(other, size)
      }
    }
  }

  // MARK: Processes

  @Test func parentAndKernelShareThePageAfterAFork() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram(creates: false, allowing: [.userPage])
      let storage = try program.storage()
      try storage.withCurrent { $0.said = 1 }
      let child = test_fork()
      if child == 0 {
        // Not attached: the program does not write to the parent's page for this process.
        _ = getppid()
        _exit((try? storage.withCurrent { $0.said }) == 0 ? 0 : 1)
      }
      var status: Int32 = 0
      waitpid(child, &status, 0)
      #expect(status == 0)
      try storage.withCurrent { echo in
        let before = echo.calls
        echo.said = 2
        _ = getppid()
        #expect(echo.calls == before + 1)
        #expect(echo.heard == 2)
      }
    }
  }

  @Test func anotherProcessesPageIsOutOfReach() async {
    await #expect(processExitsWith: .success) {
      let storage = try EchoProgram(creates: false, allowing: [.userPage]).storage()
      var ends: [Int32] = [0, 0]
      #expect(pipe(&ends) == 0)
      let child = test_fork()
      if child == 0 {
        try? storage.withCurrent { $0.said = 3 }
        write(ends[1], "x", 1)
        pause()
        _exit(0)
      }
      var byte: UInt8 = 0
      read(ends[0], &byte, 1)
      let error = #expect(throws: BPFError.self) {
        try storage.value(of: .thread(ThreadID(rawValue: child)))
      }
      #expect(error?.kind == .unsupported)
      kill(child, SIGKILL)
    }
  }

  // MARK: Instructions of programs

  @Test func theHeaderCostsTwoInstructions() throws {
    let object = try BPFObject(.pages, allowing: [.lookup])
    for name in object.programNames { try object.program(name).setAutoload(name != "count_all") }
    try object.load()
    var lengths: [String: (Int32, Int32)] = [:]
    for descriptor in try descriptors("bpf-prog") {
      var name = [CChar](repeating: 0, count: 16)
      var translated: Int32 = 0, jited: Int32 = 0
      guard test_program_info(descriptor, &name, &translated, &jited) == 0 else { continue }
      let bytes = name.prefix { $0 != 0 }.map { UInt8(bitPattern: $0) }
      lengths[String(decoding: bytes, as: UTF8.self)] = (translated, jited)
    }
    let header = try #require(lengths["with_header"])
    let hand = try #require(lengths["by_hand"])
    // The address of the read-only variable counts twice, and the load of it once, each 8 bytes.
    #expect(hand.0 > 0 && header.0 <= hand.0 + 3 * 8)
  }
}

extension String {
  fileprivate init(contentsOfFile path: FilePath) throws {
    let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    defer { try? file.close() }
    var text: [UInt8] = []
    let buffer = UnsafeMutableRawBufferPointer.allocate(byteCount: 1 << 16, alignment: 1)
    defer { buffer.deallocate() }
    while case let count = try file.read(into: buffer), count > 0 { text += buffer.prefix(count) }
    self.init(decoding: text, as: UTF8.self)
  }
}
