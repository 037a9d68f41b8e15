import Foundation
import MmapStorage
import SystemPackage
import Testing

@Suite(.liveKernel) struct LoadingTests {
  @Test func runsAProgramThatCountsInAThreadsStorage() throws {
    let object = try BPFObject(.taskCounters)
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    let map = try object.map("task_counters")
    let links = try object.attach()
    #expect(links.map(\.program) == ["count_calls"])
    for _ in 0..<10 { _ = getppid() }
    links.forEach { $0.detach() }
    let thread = try threadDescriptor()
    defer { try? thread.close() }
    let counters = try #require(try value(of: map, key: thread.rawValue, size: 40))
    #expect(counters.loadUnaligned(as: UInt64.self) >= 10)
    #expect(try object.global("total", as: UInt64.self) >= 5 + 70)
  }
}

/// The value under the key, or nil if there is none.
func value<Key: BitwiseCopyable>(of map: BPFMap, key: Key, size: Int) throws -> [UInt8]? {
  var bytes = [UInt8](repeating: 0, count: size)
  let errno = withUnsafeBytes(of: key) { key in
    bytes.withUnsafeMutableBytes { map.lookup(key: key.baseAddress!, into: $0.baseAddress!) }
  }
  switch errno {
  case nil: return bytes
  case Errno.noSuchFileOrDirectory: return nil
  case let errno?: throw errno
  }
}

extension [UInt8] {
  func loadUnaligned<T: BitwiseCopyable>(fromByteOffset offset: Int = 0, as type: T.Type) -> T {
    withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }
}

/// A descriptor of the calling thread, to be closed by the caller: the key of task storage.
func threadDescriptor() throws -> FileDescriptor {
  let onlyThisThread = UInt32(O_EXCL)
  let number = pidfdOpen(threadID(), onlyThisThread)
  if number < 0 { throw Errno(rawValue: errno) }
  return FileDescriptor(rawValue: number)
}

@_silgen_name("pidfd_open")
private func pidfdOpen(_ id: pid_t, _ flags: UInt32) -> CInt

@_silgen_name("gettid")
private func threadID() -> pid_t
