// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage

/// `struct request` of requests.bpf.c.
struct Request: MapValue {
  var id: UInt64
  var calls: UInt64
  var kind: UInt32
  var flags: UInt32
}

/// Another process that uses a storage that the tests pinned:
///
///     swift-task-process DIRECTORY STORAGE serve ROW FIRST-ID ROUNDS MAGIC
///     swift-task-process DIRECTORY STORAGE hold FIRST-ID COUNT
///
/// The first makes calls from 16 requests at once. The second enters as many scopes, says so, and
/// stays in them until its input ends.
@main struct SwiftTaskProcess {
  static func main() async throws {
    let arguments = CommandLine.arguments
    let numbers = arguments.dropFirst(4).compactMap { UInt64($0) }
    let requests = try await SwiftTaskStorage<Request>(
      pinnedIn: FilePath(arguments[1]),
      name: arguments[2]
    )
    switch (arguments[3], numbers.count) {
    case ("serve", 4):
      await serve(
        requests,
        row: UInt(numbers[0]),
        numbers[1],
        rounds: numbers[2],
        magic: UInt(numbers[3])
      )
    case ("hold", 2): await hold(requests, numbers[0], count: numbers[1])
    default: exit(2)
    }
    print("without a slot: \(requests.overflowCount)")
  }

  static func serve(
    _ requests: SwiftTaskStorage<Request>,
    row: UInt,
    _ first: UInt64,
    rounds: UInt64,
    magic: UInt
  ) async {
    await withTaskGroup { group in
      for id in first..<first + 16 {
        group.addTask {
          for _ in 0..<rounds {
            await requests.withValue({ $0.id = id }) {
              for _ in 0..<10 {
                test_call(UInt(id), row, magic)
                await Task.yield()
              }
            }
          }
        }
      }
    }
  }

  static func hold(
    _ requests: SwiftTaskStorage<Request>,
    _ id: UInt64,
    count: UInt64
  ) async {
    guard count > 0 else {
      print("holds")
      fflush(nil)
      while getchar() != EOF {}
      return
    }
    await requests.withValue({ $0.id = id }) { await hold(requests, id + 1, count: count - 1) }
  }
}
