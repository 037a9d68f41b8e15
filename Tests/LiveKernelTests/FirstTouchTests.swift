// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
@_spi(Benchmarks) import MmapStorage
import TestSupport
import Testing

private typealias Value = SystemCalls.Value

/// The system calls of a thread's first view and of later ones, as documented in ARCHITECTURE.md
/// and the README.
@Suite struct FirstTouchTests {
  @Test(.userPages) func systemCallsWithUserPages() throws {
    let calls = try record(.userPage)
    // The page, the element in the map, and the pidfd of the thread.
    #expect(calls.first == ["gettid", "mmap", "pidfd_open", "bpf", "close"])
    #expect(calls.later == [])
  }

  @Test(.mmapableTaskStorage) func systemCallsWithMappedPages() throws {
    let calls = try record(.mapped)
    #expect(calls.first == ["gettid", "mmap"])
    #expect(calls.later == [])
  }

  @Test(.liveKernel) func systemCallsWithLookups() throws {
    let calls = try record(.lookup)
    // Loads the value, and writes back the changes.
    #expect(calls.first == ["gettid", "bpf", "bpf"])
    #expect(calls.later == ["bpf", "bpf"])
  }

  @Test(.liveKernel, .threadPidfds) func systemCallsWithLookupsByPidfd() throws {
    let calls = try record(.lookup, accessPath: .pidfd)
    // Loads the value, loads it again to keep what others wrote, and writes it.
    #expect(calls.first == ["gettid", "pidfd_open", "bpf", "bpf", "bpf"])
    #expect(calls.later == ["bpf", "bpf", "bpf"])
  }
}

private func record(
  _ backend: BackendKind,
  accessPath: LookupAccessPath? = nil
) throws -> (first: [String], later: [String]) {
  let object = try SystemCalls.open(allowing: [backend]) {
    $0.globals.targetTGID = getpid()
    $0.globals.toggle = Int64(SYS_getppid)
  }.load(attaching: false)
  try object.programs.record.attach()
  let storage =
    if let accessPath {
      try TaskLocalStorage<Value>(
        backend: LookupBackend(object.object.map("values"), accessPath: accessPath)
      )
    } else {
      try object.maps.values
    }
  @Sendable
  func calls(of body: () throws -> Void) throws -> [String] {
    object.globals.count = 0
    getppid()
    try body()
    getppid()
    let numbers = object.globals.numbers
    return (0..<Int(object.globals.count)).map { name(of: numbers[$0]) }
  }
  let touch = { @Sendable in try storage.withCurrent { $0.words[0] &+= 1 } }
  // The memory for the library and the runtime is already allocated.
  try TestThread { try touch() }.join()
  let first = Box<[String]>([]), later = Box<[String]>([])
  try TestThread {
    // The allocator maps memory for a new thread.
    free(malloc(64))
    first.set(try calls(of: touch))
    // In debug builds, the Swift runtime reads the thread's id at first use.
    try touch()
    later.set(try calls(of: touch))
  }.join()
  return (first.get(), later.get())
}

private func name(of number: Int64) -> String {
  let names = [
    SYS_bpf: "bpf", SYS_close: "close", SYS_getpid: "getpid", SYS_gettid: "gettid",
    SYS_madvise: "madvise", SYS_mmap: "mmap", SYS_pidfd_open: "pidfd_open",
  ]
  return names[CInt(number)] ?? "\(number)"
}
