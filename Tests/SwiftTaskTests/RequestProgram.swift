// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import TestSupport

/// `struct request` of requests.bpf.c.
typealias Request = Requests.Request

/// `struct seen` of requests.bpf.c: the program's counts for the calls of one case.
typealias Seen = Requests.Seen

extension Requests.Request: Equatable {
  static func == (one: Self, other: Self) -> Bool {
    (one.id, one.calls, one.kind, one.flags) == (other.id, other.calls, other.kind, other.flags)
  }
}

extension Requests.Seen: Equatable {
  static func == (one: Self, other: Self) -> Bool {
    (one.own, one.none, one.other) == (other.own, other.none, other.other)
  }
}

/// The programs of requests.bpf.c, attached as long as this object exists.
final class RequestProgram: Sendable {
  let requests: Requests
  var object: BPFObject { requests.object }
  /// Distinguishes this program's calls from those of others that run at the same time.
  let magic = UInt.random(in: 1 << 32...1 << 48)

  /// Compares with the last request that the thread entered if `comparesThreads`. Also counts the
  /// calls of other processes if `allProcesses`.
  init(comparesThreads: Bool = false, allProcesses: Bool = false) throws {
    var opened = try Requests.open()
    opened.globals.magic = UInt64(magic)
    opened.globals.comparesThreads = comparesThreads ? 1 : 0
    opened.globals.expectedTGID = allProcesses ? 0 : UInt64(getpid())
    requests = try opened.load()
  }

  func seen() throws -> InlineArray<64, Seen> { requests.globals.seen }

  /// Whether the program has counted all calls, except those for which the kernel did not run it.
  /// Since Linux 7.x, the kernel preempts the program, and meanwhile skips and counts other runs on
  /// that processor.
  func hasSeen(_ count: UInt64, of expected: UInt64) throws -> Bool {
    let misses = try requests.programs.compare.loaded().recursionMisses()
    return count <= expected && count + misses >= expected
  }

  /// A system call with the id of its request.
  func call(_ id: UInt64, row: Int) { test_call(UInt(id), UInt(row), magic) }

  /// A system call with the request that the thread enters.
  func enter(_ id: UInt64) { test_call(UInt(id), 0, magic + 1) }
}

/// The ids that the program finds in the three storages for the calling thread; 0 for none.
struct Found: Equatable {
  var requests: UInt64 = 0
  var others: UInt64 = 0
  var few: UInt64 = 0
}

extension RequestProgram {
  func look() throws -> Found {
    test_call(0, 0, magic + 2)
    return Found(
      requests: requests.globals.foundInRequests,
      others: requests.globals.foundInOthers,
      few: requests.globals.foundInFew
    )
  }
}

extension RequestProgram {
  /// Stores the token of the calling thread's scope in `requests`.
  func storeToken() { test_call(0, 0, magic + 3) }

  /// The id of the request that the program finds for the stored token; 0 for none.
  func foundByToken() -> UInt64 {
    test_call(0, 0, magic + 4)
    return requests.globals.foundByToken
  }
}
