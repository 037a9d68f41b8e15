// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LibBPF
public import MmapStorage
internal import SystemPackage

// Invariant: a page's memory exists from `init` to `deinit`, and an attachment keeps its page.

extension BackendKind {
  /// The memory of a thread's value, for unit tests.
  public static let fake = BackendKind(rawValue: "fake")
}

extension ForkRank {
  /// One fake.
  static let fake = ForkRank(position: 3)
}

extension TaskLocalStorage {
  /// Creates a storage over a fake backend, and checks the layout of `Value` against the fake's.
  ///
  /// - Parameters:
  ///   - fake: The backend.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  /// - Throws: ``/MmapStorage/BPFError``:
  ///   ``/MmapStorage/BPFError/Kind-swift.enum/layoutMismatch`` with the table in
  ///   ``/MmapStorage/BPFError/details``, or an error if the type has no layout.
  public convenience init(
    backend fake: FakeBackend,
    policy: LayoutPolicy = .exact
  ) throws(BPFError) {
    try self.init(backend: fake.storageBackend, policy: policy)
  }
}

extension FakeBackend {
  /// The backend of a storage over the fake.
  package var storageBackend: any StorageBackend {
    switch access {
    case .direct: DirectFake(self)
    case .copying: CopyingFake(self)
    }
  }
}

/// A fake whose threads use their pages in place.
private final class DirectFake: FakeStorageBackend, DirectBackend, @unchecked Sendable {
  func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer {
    guard let page = fake.page(of: thread.id, create: true) else {
      throw BPFError(
        errno: .badFileDescriptor,
        attempt: "attach the calling thread",
        on: fake.describedMap
      )
    }
    fake.state.withLock { unsafe $0.attachedPages[UInt(bitPattern: page.address)] = page }
    return unsafe page.address
  }

  func renew(_ address: UnsafeMutableRawPointer, of thread: ThreadRecord) throws(BPFError) {
    try fake.record(.attach, "attach the calling thread again", .callingThread)
    fake.state.withLock { state in
      guard let page = state.attachedPages[UInt(bitPattern: address)] else { return }
      let current = state.pages[thread.id]
      if current === page { return }
      page.write(current?.bytes ?? Array(repeating: 0, count: valueSize))
      state.pages[thread.id] = page
    }
  }

  func mappingState(of address: UnsafeMutableRawPointer) throws(BPFError) -> MappingState {
    let thread = try fake.record(.lookup, "verify the calling thread's value", .callingThread)
    return fake.state.withLock { state in
      guard let current = state.pages[thread] else { return .removed }
      if current === state.attachedPages[UInt(bitPattern: address)] { return .own }
      return current.isForeign ? .foreign : .removed
    }
  }

  func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  ) {
    fake.state.withLock { $0.attachedPages[UInt(bitPattern: address)] = nil }
  }
}

/// A fake whose threads work on copies.
private final class CopyingFake: FakeStorageBackend, CopyingBackend, @unchecked Sendable {
  func loadOwn(into bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Bool {
    try unsafe fake.load(.callingThread, into: bytes)
  }

  func storeOwn(_ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer) throws(BPFError) {
    try unsafe fake.store(.callingThread, ranges, of: bytes)
  }
}

private class FakeStorageBackend: @unchecked Sendable {
  final let fake: FakeBackend

  init(_ fake: FakeBackend) { self.fake = fake }
}

/// The common part of the direct and the copying backend of a fake.
extension StorageBackend where Self: FakeStorageBackend {
  var choice: BackendChoice { fake.choice }
  var mapName: String { fake.mapName }
  /// Another fake may have the same id: its threads then attach again as well, which changes
  /// nothing.
  var mapID: UInt32 { UInt32(truncatingIfNeeded: ObjectIdentifier(fake).hashValue) }
  var valueSize: Int { fake.valueSize }
  var observer: (any AttachmentObserver)? { fake }

  func valueLayout() throws(BPFError) -> ValueLayout { fake.layout }

  func load(
    _ task: TaskReference,
    into bytes: UnsafeMutableRawBufferPointer
  ) throws(BPFError) -> Bool {
    try unsafe fake.load(task, into: bytes)
  }

  func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try unsafe check(ranges, of: bytes, for: "update the value")
    try unsafe fake.store(task, ranges, of: bytes)
  }

  func remove(_ task: TaskReference) throws(BPFError) -> Bool { try fake.remove(task) }

  func values() throws(BPFError) -> [TaskValue<[UInt8]>] {
    let threads = fake.state.withLock { $0.pages.keys.sorted { $0.rawValue < $1.rawValue } }
    return threads.compactMap { thread in
      fake.bytes(of: thread).map {
        TaskValue(
          task: TaskInfo(
            thread: thread,
            processID: getpid(),
            threadName: "",
            processName: "",
            userID: getuid(),
            startTime: 0
          ),
          value: $0
        )
      }
    }
  }
}

extension FakeBackend: AttachmentObserver {
  package func willAttach() throws(BPFError) {
    try record(.attach, "attach the calling thread", .callingThread)
    state.withLock { $0.attached += 1 }
  }

  package func didDetach(_ thread: ThreadID, because reason: DetachReason) {
    state.withLock {
      $0.attached -= 1
      if reason == .threadEnds { $0.pages.removeValue(forKey: thread) }
    }
  }
}

extension FakeBackend {
  fileprivate func load(
    _ task: TaskReference,
    into bytes: UnsafeMutableRawBufferPointer
  ) throws(BPFError) -> Bool {
    let thread = try record(.lookup, "look up the value", task)
    guard let page = page(of: thread, create: false) else { return false }
    unsafe bytes.copyBytes(from: page.bytes)
    return true
  }

  fileprivate func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    let thread = try record(.update, "update the value", task)
    guard let page = page(of: thread, create: true) else { return }
    for range in ranges { unsafe page.write(Array(bytes[range]), at: range.lowerBound) }
  }
}

/// A thread's page. Its memory exists as long as this object.
@safe
final class FakePage: @unchecked Sendable {
  fileprivate let address: UnsafeMutableRawPointer
  private let size: Int
  /// Whether another process replaced the thread's own page by it.
  let isForeign: Bool

  init(size: Int, isForeign: Bool = false) {
    let pageSize = 4096
    let bytes = (size + pageSize - 1) / pageSize * pageSize
    self.size = size
    self.isForeign = isForeign
    unsafe address = .allocate(byteCount: bytes, alignment: pageSize)
    unsafe address.initializeMemory(as: UInt8.self, repeating: 0, count: bytes)
  }

  deinit { unsafe address.deallocate() }

  /// A copy of the value.
  var bytes: [UInt8] { unsafe Array(UnsafeRawBufferPointer(start: address, count: size)) }

  /// Writes bytes. Traps if they are not in the value.
  func write(_ bytes: [UInt8], at offset: Int = 0) {
    precondition(offset >= 0 && bytes.count <= size - offset)
    unsafe (address + offset).copyMemory(from: bytes, byteCount: bytes.count)
  }

  /// Lends a view of the value. Traps if `Value` is larger.
  func withView<Value: MapField, R>(_ body: (borrowing StorageView<Value>) -> R) -> R {
    precondition(MemoryLayout<Value>.size <= size)
    return withExtendedLifetime(self) { unsafe body(StorageView(storageAt: address)) }
  }
}

/// Slots of Swift tasks that no program accesses.
@safe
final class FakeSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer

  init(size: Int) {
    unsafe base = .allocate(byteCount: size, alignment: 64)
    unsafe base.initializeMemory(as: UInt8.self, repeating: 0, count: size)
  }

  deinit { unsafe base.deallocate() }

  func hasExited(_ owner: UInt64) -> Bool { false }
  func unreadableCount() -> Int { 0 }
}
