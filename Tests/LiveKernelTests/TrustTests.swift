// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Dispatch
import Glibc
import MmapStorage
import MmapStorageBroker
import MmapStorageInspection
import SystemPackage
import TestSupport
import Testing

/// The effects that a process of another user can have, with a map's descriptor, on a thread of
/// this process: the rows of the table in the article "Trust".
@Suite(.liveKernel, .threadPidfds) struct TrustTests {
  @Test(arguments: LiveKernel.backends)
  func aReadableDescriptor(_ backend: BackendKind) async throws {
    try await withBPFFileSystem { directory in
      let program = try EchoProgram(allowing: [backend])
      let path = directory.appending("echoes").string
      try program.object.map("echoes").pin(
        at: FilePath(path),
        attributes: .group(65534, readOnly: true)
      )
      let storage = try program.storage()
      let victim = Victim()
      defer { victim.end() }
      try victim.run { try storage.withCurrent { $0.said = 41 } }
      await #expect(processExitsWith: .success) {
        [
          path = path as String, thread = victim.thread.rawValue as Int32,
          name = backend.rawValue as String
        ] in
        #expect(test_drop_rights() == 0)
        let writable = #expect(throws: BPFError.self) { try BPFMap(pinnedAt: FilePath(path)) }
        #expect(writable?.kind == .permissionDenied)
        let map = try BPFMap(pinnedAt: FilePath(path), readOnly: true)
        let attacker = try Attacker(map, on: thread)

        // Reads the value, unless it is in a user page: then it only detects that there is one.
        let bytes = try #require(attacker.read())
        #expect(name == "userPage" ? bytes.allSatisfy { $0 == 0 } : bytes[8] == 41)
        #expect(attacker.write(bytes) == .notPermitted)
        #expect(attacker.remove() == .notPermitted)
        #expect(attacker.replacePage() == .notPermitted)
        #expect(attacker.createOwn() == .notPermitted)
        if name == "mapped" {
          #expect(attacker.mapShared(writable: true) == false)
        }
        let reader = #expect(throws: BPFError.self) {
          try TaskStorageReader(map: map, layout: BPFObject(.echo).layout(ofMap: "echoes"))
        }
        #expect(reader != nil)
      }
      try victim.run { () throws in
        _ = getppid()
        #expect(try storage.withCurrent { $0.heard } == 41)
        #expect(try storage.verifyMapping() == .own)
      }
    }
  }

  @Test(arguments: LiveKernel.backends)
  func aWritableDescriptor(_ backend: BackendKind) async throws {
    try await withBPFFileSystem { directory in
      let program = try EchoProgram(allowing: [backend])
      let path = directory.appending("echoes").string
      try program.object.map("echoes").pin(at: FilePath(path), attributes: .group(65534))
      let storage = try program.storage()
      let victim = Victim()
      let bystander = Victim()
      defer {
        victim.end()
        bystander.end()
      }
      try victim.run { try storage.withCurrent { $0.said = 41 } }
      await #expect(processExitsWith: .success) {
        [
          path = path as String, thread = victim.thread.rawValue as Int32,
          other = bystander.thread.rawValue as Int32, name = backend.rawValue as String
        ] in
        #expect(test_drop_rights() == 0)
        let map = try BPFMap(pinnedAt: FilePath(path))
        let attacker = try Attacker(map, on: thread)
        var bytes = try #require(attacker.read())
        if name == "userPage" {
          #expect(bytes.allSatisfy { $0 == 0 })
          #expect(attacker.replacePage() == nil)
          // The new element of a thread without one takes kernel memory, and a page of the
          // attacker.
          #expect(try Attacker(map, on: other).replacePage() == nil)
        } else {
          // Each field is set to every bit pattern in turn, and keeps the last one.
          for pattern in UInt8.min...UInt8.max {
            bytes = bytes.map { _ in pattern }
            #expect(attacker.write(bytes) == nil)
          }
          // The new value of a thread without one takes memory that is charged to the map's
          // creator.
          #expect(try Attacker(map, on: other).write(bytes) == nil)
        }
      }
      // No value that the other process wrote crashes a client. The value may be wrong.
      try victim.run { () throws in
        switch backend {
        case .userPage:
          // The element keeps the page of a process that has ended.
          #expect(try storage.verifyMapping() == .foreign)
          #expect(try storage.withCurrent { $0.said } == 41)
          _ = getppid()
          #expect(try storage.withCurrent { $0.heard } == 0)  // the program used the other page
          #expect(try storage.values().count == 2)
        default:
          #expect(try storage.withCurrent { $0.said } == .max)
          #expect(try storage.withCurrent { $0.reserved } == .max)
          #expect(try storage.values().count == 2)
        }
        // Recovery.
        try storage.removeValue(of: .callingThread)
        try storage.withCurrent { $0.said = 42 }
        _ = getppid()
        #expect(try storage.withCurrent { $0.heard } == 42)
        #expect(try storage.verifyMapping() == .own)
      }
      await #expect(processExitsWith: .success) {
        [path = path as String, thread = victim.thread.rawValue as Int32] in
        #expect(test_drop_rights() == 0)
        let attacker = try Attacker(BPFMap(pinnedAt: FilePath(path)), on: thread)
        #expect(attacker.remove() == nil)
      }
      try victim.run { () throws in
        if backend == .lookup {
          #expect(try storage.withCurrent { $0.said } == 0)
        } else {
          #expect(try storage.verifyMapping() == .removed)
        }
      }
    }
  }

  @Test(.memoryCgroups) func aWritableDescriptorUsesUpTheCreatorsMemory() async {
    await #expect(processExitsWith: .success) {
      do { try fillTheCreatorsCgroup() } catch { Issue.record("\(error)") }
    }
  }

  @Test(arguments: LiveKernel.backends)
  func aClientReadsWhileOthersWriteAnything(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    let victim = Victim()
    defer { victim.end() }
    try victim.run { try storage.withCurrent { $0.said = 1 } }
    let attacker = try Attacker(program.object.map("echoes"), on: victim.thread.rawValue)
    let size = try program.object.map("echoes").info.valueSize
    let done = Box(false)
    let writer = try TestThread {
      for round in 0..<2000 {
        _ = attacker.write([UInt8](repeating: UInt8(truncatingIfNeeded: round), count: size))
        if round % 7 == 0 { _ = attacker.remove() }
      }
      done.set(true)
    }
    try victim.run { () throws in
      while !done.get() {
        // An update may fail because the value was removed. This is an error, and not a crash.
        _ = try? storage.withCurrent { ($0.said, $0.calls) }
        _ = try? storage.values()
        _ = try? storage.verifyMapping()
      }
    }
    try writer.join()
  }
}

/// A process without rights fills the memory cgroup of a map's creator.
private func fillTheCreatorsCgroup() throws {
  let cgroup = try MemoryCgroup()
  defer { cgroup.remove() }
  let map = try cgroup.charging {
    try BPFMap(creatingTaskStorage: "creators", wordCount: 400)
  }
  let isOver = Gate()
  let ids = Box<[Int32]>([])
  var threads: [TestThread] = []
  for _ in 0..<1_000 {
    threads.append(
      try TestThread(stackSize: 64 * 1024) {
        ids.change { $0.append(ThreadID.current.rawValue) }
        isOver.wait()
      }
    )
  }
  while ids.get().count < threads.count { sched_yield() }
  let victims = ids.get()
  try cgroup.allowNoMore()

  let child = test_fork()
  if child == 0 {
    // The attacker is in another cgroup, and has no rights except the descriptor.
    guard test_drop_rights() == 0 else { _exit(1) }
    for victim in victims {
      guard let attacker = try? Attacker(map, on: victim) else { _exit(2) }
      switch attacker.write([UInt8](repeating: 1, count: 3200)) {
      case nil: continue
      case .noMemory: _exit(42)
      default: _exit(3)
      }
    }
    _exit(4)
  }
  try #require(child > 0)
  var status: Int32 = 0
  try #require(waitpid(child, &status, 0) == child)
  #expect(status >> 8 & 0xFF == 42, "status \(status)")

  // The creator's threads get no values after the memory that each processor caches is used.
  let own = try Attacker(map, on: ThreadID.current.rawValue)
  let bytes = [UInt8](repeating: 2, count: 3200)
  #expect(
    try victims.reversed().contains { try Attacker(map, on: $0).write(bytes) == .noMemory }
  )
  for victim in victims { _ = try Attacker(map, on: victim).remove() }
  try cgroup.allowAll()
  // The kernel frees the values and fills its reserve later.
  var tries = 0
  while own.createOwn() == .noMemory, tries < 100_000 {
    tries += 1
    sched_yield()
  }
  #expect(own.createOwn() == nil, "after \(tries) tries")
  isOver.open()
  for thread in threads { try thread.join() }
}

/// A thread that runs closures until it is ended.
private final class Victim: @unchecked Sendable {
  let thread: ThreadID
  private let work = DispatchSemaphore(value: 0)
  private let finished = DispatchSemaphore(value: 0)
  private let body = Box<(@Sendable () throws -> Void)?>(nil)
  private let failure = Box<(any Error)?>(nil)

  private let running: TestThread?

  init() {
    let id = Box(ThreadID(rawValue: 0))
    let (work, finished, body, failure) = (work, finished, body, failure)
    running = try? TestThread {
      id.set(.current)
      finished.signal()
      while true {
        work.wait()
        guard let next = body.get() else { break }
        do { try next() } catch { failure.set(error) }
        finished.signal()
      }
    }
    finished.wait()
    thread = id.get()
  }

  func run(_ next: @escaping @Sendable () throws -> Void) throws {
    body.set(next)
    work.signal()
    finished.wait()
    if let error = failure.get() { throw error }
  }

  func end() {
    body.set(nil)
    work.signal()
    try? running?.join()
  }
}

/// The attempts of a process with a map and another process's thread.
private final class Attacker: Sendable {
  private let handle: MapHandle
  private let pidfd: Int32
  private let size: Int

  init(_ map: BPFMap, on thread: Int32) throws {
    handle = try MapHandle(map, for: "attack")
    size = try map.info.valueSize
    pidfd = test_pidfd_open(thread)
    #expect(pidfd >= 0)
  }

  deinit { close(pidfd) }

  func read() -> [UInt8]? {
    var bytes = [UInt8](repeating: 0xEE, count: size)
    let errno = bytes.withUnsafeMutableBytes { bytes in
      bytes.baseAddress.flatMap { handle.lookup(key: pidfd, into: $0) }
    }
    return errno == nil ? bytes : nil
  }

  func write(_ bytes: [UInt8]) -> Errno? {
    bytes.withUnsafeBytes { bytes in
      bytes.baseAddress.flatMap { handle.update(key: pidfd, value: $0, .always) }
    }
  }

  func remove() -> Errno? { handle.delete(key: pidfd) }

  /// Replaces the other thread's page by a page of this process.
  func replacePage() -> Errno? {
    guard size == 8 else { return write([UInt8](repeating: 0, count: size)) }
    let page = mmap(nil, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    var address = UInt64(UInt(bitPattern: page))
    return handle.update(key: pidfd, value: &address, .always)
  }

  /// Creates a value for itself.
  func createOwn() -> Errno? {
    let own = test_pidfd_open(ThreadID.current.rawValue)
    defer { close(own) }
    let bytes = [UInt8](repeating: 0, count: size)
    return bytes.withUnsafeBytes { bytes in
      bytes.baseAddress.flatMap { handle.update(key: own, value: $0, .always) }
    }
  }

  /// Returns whether it could map its value.
  func mapShared(writable: Bool) -> Bool {
    guard case .success(let address) = handle.mapShared(size: size) else { return false }
    handle.unmap(address, size: size)
    return true
  }
}
