// SPDX-License-Identifier: Apache-2.0
@_spi(Benchmarks) import MmapStorage
import MmapStorageTesting
import TestSupport
import Testing

/// The backends whose observable behaviour is the same.
enum BackendUnderTest: CustomTestStringConvertible {
  case fakeDirect, fakeCopying, lookup, lookupByPidfd, userPage, mapped

  var testDescription: String { "\(self)" }

  /// The backends to test here. The fakes do not depend on the kernel, so they are tested only on
  /// the host, not on the emulated machine.
  static let allCases: [BackendUnderTest] =
    (LiveKernel.isEmulated ? [] : [.fakeDirect, .fakeCopying])
    + [.lookup, .lookupByPidfd, .userPage, .mapped]

  /// The backends with which a program, or another thread, can create a thread's storage.
  static let whereAnyoneCreates = allCases.filter { $0 != .userPage }

  /// The backends with which a view works on a copy.
  static let copying = allCases.filter { !$0.isDirect }

  /// The backends with which a view accesses the value directly.
  static let direct = allCases.filter(\.isDirect)

  var isDirect: Bool { [.fakeDirect, .userPage, .mapped].contains(self) }

  private var kinds: Set<BackendKind> {
    switch self {
    case .fakeDirect, .fakeCopying: []
    case .lookup, .lookupByPidfd: [.lookup]
    case .userPage: [.userPage]
    case .mapped: [.mapped]
    }
  }

  /// A new storage over the map of that name in values.bpf.c.
  func fixture<Value: MapField>(
    _ type: Value.Type,
    map: String,
    policy: LayoutPolicy = .exact
  ) throws -> BackendFixture<Value> {
    let object = try BPFObject(.values, allowing: kinds)
    let backend: any StorageBackend
    var fake: FakeBackend?
    switch self {
    case .fakeDirect:
      let direct = try FakeBackend(map: map, of: object, access: .direct)
      (backend, fake) = (direct.storageBackend, direct)
    case .fakeCopying:
      let copying = try FakeBackend(map: map, of: object, access: .copying)
      (backend, fake) = (copying.storageBackend, copying)
    case .lookup, .lookupByPidfd:
      try LiveKernel.skipCase(
        unless: LiveKernel.mayRun && (self == .lookup || LiveKernel.mayOpenThreadPidfds)
      )
      try object.load()
      backend = try LookupBackend(
        object.map(map),
        accessPath: self == .lookup ? .program : .pidfd
      )
    case .userPage:
      try LiveKernel.skipCase(unless: LiveKernel.mayShareUserPages)
      try object.load()
      backend = try UserPageBackend(object.map(map))
    case .mapped:
      try LiveKernel.skipCase(unless: LiveKernel.mayMap)
      try object.load()
      backend = try MappedBackend(object.map(map))
    }
    return BackendFixture(
      storage: try TaskLocalStorage<Value>(backend: backend, policy: policy),
      backend: backend,
      fake: fake
    )
  }
}

/// A storage, and functions that act as a BPF program.
struct BackendFixture<Value: MapField>: Sendable {
  let storage: TaskLocalStorage<Value>
  let backend: any StorageBackend
  let fake: FakeBackend?

  /// Changes a thread's storage as a program; nil if there is none and none is created.
  @discardableResult
  func program<Result>(
    on thread: ThreadID = .current,
    create: Bool = true,
    _ body: (borrowing StorageView<Value>) -> Result
  ) throws(BPFError) -> Result? {
    if let fake {
      return fake.program(on: thread, as: Value.self, create: create, body)
    }
    if create, thread == .current, case .direct(let backend) = backend.access,
      backend.createsOnlyByAttaching
    {
      try storage.withCurrent { _ in }
    }
    let bytes = UnsafeMutableRawBufferPointer.allocate(
      byteCount: backend.valueSize,
      alignment: 16
    )
    defer { bytes.deallocate() }
    bytes.initializeMemory(as: UInt8.self, repeating: 0)
    guard try backend.load(.thread(thread), into: bytes) || create,
      let address = bytes.baseAddress
    else { return nil }
    let result = body(StorageView(storageAt: address))
    try backend.store(.thread(thread), [0..<bytes.count], of: UnsafeRawBufferPointer(bytes))
    return result
  }

  /// Removes a thread's value without the library's knowledge.
  func delete(of thread: ThreadID) throws(BPFError) {
    _ = try backend.remove(.thread(thread))
  }

  /// A copy of a thread's bytes; nil if it has no storage.
  func bytes(of thread: ThreadID = .current) throws(BPFError) -> [UInt8]? {
    let bytes = UnsafeMutableRawBufferPointer.allocate(byteCount: backend.valueSize, alignment: 1)
    defer { bytes.deallocate() }
    return try backend.load(.thread(thread), into: bytes) ? Array(bytes) : nil
  }
}
