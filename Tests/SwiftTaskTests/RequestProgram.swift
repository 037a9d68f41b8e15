import CTestSupport
import Glibc
import MmapStorage
import TestSupport

/// `struct request` of requests.bpf.c.
struct Request: MapValue, Equatable {
  var id: UInt64 = 0
  var calls: UInt64 = 0
  var kind: UInt32 = 0
  var flags: UInt32 = 0
}

/// `struct seen` of requests.bpf.c: what the program saw in the calls of one case.
struct Seen: MapValue, Equatable {
  var own: UInt64 = 0
  var none: UInt64 = 0
  var other: UInt64 = 0
}

/// The programs of requests.bpf.c, attached as long as this lives.
final class RequestProgram: Sendable {
  let object: BPFObject
  private let links: [BPFLink]

  /// - Parameter comparesThreads: Whether to compare with the request that the thread entered last.
  init(comparesThreads: Bool = false) throws {
    object = try BPFObject(.requests)
    try object.setGlobal("compares_threads", to: UInt32(comparesThreads ? 1 : 0))
    try object.setGlobal("expected_tgid", to: UInt64(getpid()))
    try object.load()
    links = try object.attach()
  }

  func seen() throws -> InlineArray<64, Seen> { try object.global("seen") }
}

/// A system call that says which request it belongs to.
@inline(never)
func call(_ id: UInt64, row: Int) {
  test_call(UInt(id), UInt(row), 0x53_5749_4654)
}

/// A system call that says which request the thread enters.
func enter(_ id: UInt64) {
  test_call(UInt(id), 0, 0x45_4e54_4552)
}
