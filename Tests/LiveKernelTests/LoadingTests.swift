import Foundation
import MmapStorage
import SystemPackage
import TestSupport
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
    let counters = try #require(try ownValue(of: map, size: 40))
    #expect(counters.loadUnaligned(as: UInt64.self) >= 10)
    #expect(try object.global("total", as: UInt64.self) >= 5 + 70)
  }
}

/// The value of the calling thread, or nil if there is none.
func ownValue(of map: BPFMap, size: Int) throws -> [UInt8]? {
  let backend = try LookupBackend(map)
  var bytes = [UInt8](repeating: 0, count: size)
  let found = try bytes.withUnsafeMutableBytes { try backend.load(.callingThread, into: $0) }
  return found ? bytes : nil
}

extension [UInt8] {
  func loadUnaligned<T: BitwiseCopyable>(fromByteOffset offset: Int = 0, as type: T.Type) -> T {
    withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }
}
