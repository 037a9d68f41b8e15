// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import MmapStorageInspection
import SystemPackage
import TestSupport
import Testing

/// Reading the values of all tasks with an iterator.
@Suite(.liveKernel, .threadPidfds) struct AllValuesTests {
  @Test(arguments: LiveKernel.backends)
  func valuesOfAllThreads(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    #expect(storage.backend.kind == backend)
    #expect(try storage.values().isEmpty)
    try storage.withCurrent { $0.said = 1 }
    let other = try TestThread {
      let name = try FileDescriptor.open("/proc/thread-self/comm", .writeOnly)
      try name.closeAfter { _ = try name.writeAll("second".utf8) }
      try storage.withCurrent { $0.said = 2 }
      let values = try storage.values()
      #expect(values.map(\.value.said).sorted() == [1, 2])
      let own = try #require(values.first { $0.task.thread == .current })
      #expect(own.value.said == 2 && own.task.threadName == "second")
      #expect(own.task.processID == getpid() && own.task.userID == 0)
      #expect(Set(values.map(\.task.processName)).count == 1)
      #expect(own.task.startTime > 0)
    }
    try other.join()
    // The kernel freed the other thread's value with the thread.
    #expect(try storage.values().map(\.value.said) == [1])
  }

  @Test(arguments: LiveKernel.backends)
  func valuesOfAnotherProcess(_ backend: BackendKind) async {
    await #expect(processExitsWith: .success) { [backend] in
      let program = try EchoProgram(allowing: [backend])
      let storage = try program.storage()
      var ready: [Int32] = [0, 0]
      var done: [Int32] = [0, 0]
      try #require(pipe(&ready) == 0 && pipe(&done) == 0)
      let child = test_fork()
      if child == 0 {
        let isSet = (try? storage.withCurrent { $0.said = 77 }) != nil
        var byte: UInt8 = isSet ? 1 : 0
        write(ready[1], &byte, 1)
        close(done[1])
        read(done[0], &byte, 1)
        _exit(0)
      }
      defer {
        for descriptor in ready + done { close(descriptor) }
        waitpid(child, nil, 0)
      }
      var byte: UInt8 = 0
      #expect(read(ready[0], &byte, 1) == 1 && byte == 1)
      let values = try storage.values()
      #expect(values.map(\.value.said) == [77])
      #expect(values.first?.task.processID == child)

      // A read-only descriptor is enough, and the type of the value is not needed.
      let held = try BPFMap(id: program.object.map("echoes").info.id, readOnly: true)
      let reader = try TaskStorageReader(map: held)
      let value = try #require(try reader.values().first)
      let field = try #require(reader.layout.fields.first { $0.name == "said" })
      #expect(field.value(in: value.value) == .unsigned(77))
    }
  }

  @Test func sizesOfValues() throws {
    for (map, size) in [("bytes", 1), ("pages", 4096), ("too_large", 4097), ("directs", 8)] {
      let object = try BPFObject(.pages)
      try object.load()
      let reader = try TaskStorageReader(map: object.map(map))
      #expect(reader.layout.size == size)
      let storage: any Sendable
      switch map {
      case "bytes": storage = try fill(OneByte.self, object, map) { $0.calls = 0xA5 }
      case "pages": storage = try fill(OnePage.self, object, map) { $0.last = 0xA5_5A }
      case "too_large": storage = try fill(PageAndByte.self, object, map) { $0.bytes[4096] = 0xA5 }
      default: storage = try fill(Counter.self, object, map) { $0.calls = 0xA5_5A }
      }
      let values = try reader.values()
      #expect(values.count == 1 && values.first?.value.count == size)
      let last = size % 8 == 0 ? [0x5A, 0xA5, 0, 0, 0, 0, 0, 0] : [0xA5]
      #expect(values.first?.value.suffix(last.count) == last[...].map { UInt8($0) }[...], "\(map)")
      withExtendedLifetime(storage) {}
    }
  }

  /// The place of the values is known for a map, but not for an object that was not loaded.
  @Test(.userPages, arguments: [BackendKind.userPage, .lookup], [true, false])
  func theLayoutIsThatOfAnObjectFile(_ backend: BackendKind, isFromObject: Bool) throws {
    func reader(_ map: BPFMap, _ layout: ValueLayout) throws -> TaskStorageReader {
      let held = try isFromObject ? map : BPFMap(id: map.info.id, readOnly: true)
      let reader = try TaskStorageReader(map: held, layout: layout)
      #expect(reader.layout.hasUserPages == (backend == .userPage))
      return reader
    }
    let echo = try EchoProgram(allowing: [backend])
    let storage = try echo.storage()
    try storage.withCurrent { $0.said = 9 }
    let echoes = try reader(
      echo.object.map("echoes"),
      BPFObject(.echo).layout(ofMap: "echoes")
    )
    let said = try #require(echoes.layout.fields.first { $0.name == "said" })
    #expect(try echoes.values().map { said.value(in: $0.value) } == [.unsigned(9)])

    // The size of a page's address.
    let pages = try BPFObject(.pages, allowing: [backend])
    try pages.load()
    let counters = try TaskLocalStorage<Counter>(map: pages.map("by_header"))
    try counters.withCurrent { $0.calls = 5 }
    let counts = try reader(
      pages.map("by_header"),
      BPFObject(.pages).layout(ofMap: "by_header")
    )
    #expect(try counts.values().map(\.value) == [[5, 0, 0, 0, 0, 0, 0, 0]])
  }

  @Test(.userPages) func theLayoutIsThatOfAnotherObjectWithTheSameValue() throws {
    let object = try BPFObject(.onlyPages)
    try object.load()
    let counters = try TaskLocalStorage<Counter>(map: object.map("counters"))
    try counters.withCurrent { $0.calls = 5 }
    let held = try BPFMap(id: object.map("counters").info.id, readOnly: true)
    for map in ["by_header", "directs"] {
      let reader = try TaskStorageReader(map: held, layout: BPFObject(.pages).layout(ofMap: map))
      #expect(try reader.values().map(\.value) == [[5, 0, 0, 0, 0, 0, 0, 0]], "\(map)")
    }
  }

  @Test(.userPages) func theLayoutIsThatOfAnObjectFileWithoutRightsToReadTypes() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram(allowing: [.userPage])
      let storage = try program.storage()
      try storage.withCurrent { $0.said = 9 }
      let held = try BPFMap(adopting: program.object.map("echoes").duplicateDescriptor())
      let layout = try BPFObject(.echo).layout(ofMap: "echoes")
      #expect(test_keep_rights_to_load() == 0)
      #expect(throws: BPFError.self) { try held.valueLayout() }
      let reader = try TaskStorageReader(map: held, layout: layout)
      let said = try #require(reader.layout.fields.first { $0.name == "said" })
      #expect(try reader.values().map { said.value(in: $0.value) } == [.unsigned(9)])
    }
  }

  @Test func aLayoutOfAnotherSizeIsRefused() throws {
    let map = try EchoProgram(allowing: [.lookup]).object.map("echoes")
    for (image, name) in [
      (BPFObjectImage.pages, "directs"), (.taskCounters, "task_counters"),
    ] {
      let layout = try BPFObject(image).layout(ofMap: name)
      let error = #expect(throws: BPFError.self) {
        try TaskStorageReader(map: map, layout: layout)
      }
      #expect(error?.kind == .layoutMismatch, "\(name): \(String(describing: error))")
    }
  }

  @Test func valuesThatAreTooLargeForTheIterator() throws {
    let map = try BPFMap(creatingTaskStorage: "large", wordCount: 4000)
    let reader = try TaskStorageReader(map: map)
    var value = [UInt64](repeating: 0, count: 4000)
    value[3999] = 0x1234
    let handle = try MapHandle(map, for: "test")
    let pidfd = test_pidfd_open(ThreadID.current.rawValue)
    defer { close(pidfd) }
    let errno = value.withUnsafeBytes { bytes in
      bytes.baseAddress.map { handle.update(key: pidfd, value: $0, .always) } ?? .invalidArgument
    }
    if errno == .noMemory {
      // Linux 7.x allocates elements with kmalloc_nolock(), which has at most 8 KiB.
      try Test.cancel("this kernel has no values of 32,000 bytes")
    }
    #expect(errno == nil)
    let values = try reader.values()
    #expect(values.count == 1 && values.first?.value.count == 32_000)
    #expect(values.first?.value.suffix(8) == [0x34, 0x12, 0, 0, 0, 0, 0, 0])
    #expect(values.first?.task.thread == .current)
  }

  @Test func aReaderNeedsRights() async {
    await #expect(processExitsWith: .success) {
      let program = try EchoProgram()
      let layout = try program.object.layout(ofMap: "echoes")
      let map = try BPFMap(adopting: program.object.map("echoes").duplicateDescriptor())
      #expect(test_drop_rights() == 0)
      let error = #expect(throws: BPFError.self) { try TaskStorageReader(map: map, layout: layout) }
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice.contains("CAP_BPF") == true)
      #expect(error?.attempt == "read the values of all tasks" && error?.object == "map 'echoes'")
    }
  }

  @Test func aMapOfAnotherTypeHasNoSuchValues() throws {
    let object = try EchoProgram().object
    let error = #expect(throws: BPFError.self) {
      try TaskStorageReader(map: object.map("not_task_storage"))
    }
    #expect(error?.kind == .wrongType)
  }

  @Test(arguments: LiveKernel.backends)
  func anOwnPageIsVerified(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    #expect(try storage.verifyMapping() == .own)
    try storage.withCurrent { $0.said = 5 }
    _ = getppid()
    #expect(try storage.verifyMapping() == .own)
    if backend == .lookup { return }
    // The library cannot detect this removal.
    let handle = try MapHandle(program.object.map("echoes"), for: "test")
    let pidfd = test_pidfd_open(ThreadID.current.rawValue)
    defer { close(pidfd) }
    #expect(handle.delete(key: pidfd) == nil)
    #expect(try storage.verifyMapping() == .removed)
    try storage.removeValue(of: .callingThread)
    try storage.withCurrent { $0.said = 6 }
    #expect(try storage.verifyMapping() == .own)
  }

  @Test(.userPages) func aForeignPageIsNoticed() throws {
    let program = try EchoProgram(allowing: [.userPage])
    let storage = try program.storage()
    try storage.withCurrent { $0.said = 5 }
    let page = UnsafeMutableRawPointer.allocate(byteCount: 8192, alignment: 4096)
    defer { page.deallocate() }
    page.initializeMemory(as: UInt8.self, repeating: 0, count: 8192)
    let handle = try MapHandle(program.object.map("echoes"), for: "test")
    let pidfd = test_pidfd_open(ThreadID.current.rawValue)
    defer { close(pidfd) }
    var address = UInt64(UInt(bitPattern: page))
    #expect(handle.update(key: pidfd, value: &address, .always) == nil)

    #expect(try storage.verifyMapping() == .foreign)
    _ = getppid()
    #expect(try storage.withCurrent { $0.heard } == 0)  // the program used the other page
    try storage.removeValue(of: .callingThread)
    try storage.withCurrent { $0.said = 8 }
    _ = getppid()
    #expect(try storage.withCurrent { $0.heard } == 8)
    #expect(try storage.verifyMapping() == .own)
  }
}

private typealias OneByte = Pages.OneByte
private typealias OnePage = Pages.OnePage
private typealias PageAndByte = Pages.PageAndByte
private typealias Counter = Pages.Counter

/// Writes the calling thread's value, and returns the storage, which keeps it.
private func fill<Value: MapField>(
  _ type: Value.Type,
  _ object: BPFObject,
  _ map: String,
  _ body: (borrowing StorageView<Value>) -> Void
) throws -> any Sendable {
  let storage = try TaskLocalStorage<Value>(map: object.map(map))
  try storage.withCurrent(body)
  return storage
}
