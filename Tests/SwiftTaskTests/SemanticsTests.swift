// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import TestSupport
import Testing

/// Each row of the table in the documentation, with the calls counted by a BPF program.
@Suite(.liveKernel) struct SemanticsTests {
  /// The number of concurrent requests.
  private static let requests = 16
  /// The number of rounds of each request: 215 rounds are 1,000,000 calls.
  private static let rounds = getenv("MMAPSTORAGE_ROUNDS").flatMap { Int(String(cString: $0)) } ?? 3

  @Test(arguments: rows.indices) func row(_ index: Int) async throws {
    let program = try RequestProgram()
    let seen = try await run(index, program)
    let expected = UInt64(Self.requests * Self.rounds * rows[index].calls)
    let (right, wrong) = rows[index].isInside ? (seen.own, seen.none) : (seen.none, seen.own)
    #expect(try program.hasSeen(right, of: expected), "\(rows[index].name): \(seen)")
    #expect(wrong == 0 && seen.other == 0, "\(rows[index].name): \(seen)")
    if getenv("MMAPSTORAGE_ROUNDS") != nil {
      print("| \(rows[index].name) | \(seen.own) | \(seen.none) | \(seen.other) |")
    }
  }

  /// The same with the request of the thread instead of the Swift task, as with storage of threads.
  /// All requests have entered before the first continues, and there are more requests than
  /// threads, so most of their calls find another request's value.
  @Test(arguments: rows.indices.filter { !rows[$0].isOnForeignThreads })
  func rowWithAValueOfTheThread(_ index: Int) async throws {
    let program = try RequestProgram(comparesThreads: true)
    let seen = try await run(index, program)
    let expected = UInt64(Self.requests * Self.rounds * rows[index].calls)
    #expect((rows[index].isInside ? seen.own : seen.none) < expected, "\(rows[index].name)")
  }

  private func run(_ index: Int, _ program: RequestProgram) async throws -> Seen {
    let requests = try await SwiftTaskStorage<Request>(program.object, "requests")
    let start = Meeting(of: Self.requests)
    try await withThrowingTaskGroup { group in
      for number in 1...Self.requests {
        group.addTask {
          let caller = Caller(
            program: program,
            requests: requests,
            id: UInt64(index * 1_000 + number),
            row: index
          )
          try await requests.withValue({ $0.id = caller.id }) {
            program.enter(caller.id)
            await start.wait()
            for _ in 0..<Self.rounds { try await rows[index].body(caller) }
          }
        }
      }
      try await group.waitForAll()
    }
    #expect(requests.overflowCount == 0)
    return try program.seen()[index]
  }
}

/// Makes Swift tasks wait until all of them have arrived.
private actor Meeting {
  private var missing: Int
  private var waiting: [CheckedContinuation<Void, Never>] = []

  init(of count: Int) { missing = count }

  func wait() async {
    missing -= 1
    if missing == 0 { return waiting.forEach { $0.resume() } }
    await withCheckedContinuation { waiting.append($0) }
  }
}
