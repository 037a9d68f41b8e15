// SPDX-License-Identifier: Apache-2.0
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
  /// Tells this program's calls from those of others that run at the same time.
  let magic = UInt.random(in: 1 << 32...1 << 48)

  /// Compares with the request that the thread entered last if `comparesThreads`; counts the calls
  /// of other processes as well if `allProcesses`.
  init(comparesThreads: Bool = false, allProcesses: Bool = false) throws {
    object = try BPFObject(.requests)
    try object.setGlobal("magic", to: UInt64(magic))
    try object.setGlobal("compares_threads", to: UInt32(comparesThreads ? 1 : 0))
    try object.setGlobal("expected_tgid", to: UInt64(allProcesses ? 0 : getpid()))
    try object.load()
    try object.attach()
  }

  func seen() throws -> InlineArray<64, Seen> { try object.global("seen") }

  /// Whether the program has seen all calls, but those that the kernel did not run it for. From Linux 7.x
  /// on it preempts the program, and skips and counts other runs on that processor meanwhile.
  func hasSeen(_ count: UInt64, of expected: UInt64) throws -> Bool {
    let misses = try object.program("compare").recursionMisses()
    return count <= expected && count + misses >= expected
  }

  /// A system call that says which request it belongs to.
  func call(_ id: UInt64, row: Int) { test_call(UInt(id), UInt(row), magic) }

  /// A system call that says which request the thread enters.
  func enter(_ id: UInt64) { test_call(UInt(id), 0, magic + 1) }
}

/// What the program finds in the three storages for the calling thread: ids, 0 for none.
struct Found: Equatable {
  var requests: UInt64 = 0
  var others: UInt64 = 0
  var few: UInt64 = 0
}

extension RequestProgram {
  func look() throws -> Found {
    test_call(0, 0, magic + 2)
    return Found(
      requests: try object.global("found_in_requests"),
      others: try object.global("found_in_others"),
      few: try object.global("found_in_few")
    )
  }
}
