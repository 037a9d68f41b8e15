// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// Shared by all requests.
actor Log {
  private let file = open("/dev/null", O_WRONLY)

  func append(_ line: String) { _ = write(file, line, line.utf8.count) }
}

@main struct Program {
  static func main() async throws {
    let follow = try Follow.load()
    let requests = try await follow.maps.requests.open()

    let log = Log()
    let totals = await withTaskGroup { group in
      for id in 1...4 {
        group.addTask {
          await requests.withValue({ $0.id = UInt64(id) }) {
            await handle(parts: id * 10, log)
          }.snapshot
        }
      }
      var totals: [Follow.Request] = []
      for await total in group { if let total { totals.append(total) } }
      return totals
    }
    for request in totals.sorted(by: { $0.id < $1.id }) {
      print("Request \(request.id): \(request.writes) writes")
    }
  }

  /// Does not use the storage.
  static func handle(parts: Int, _ log: Log) async {
    await withDiscardingTaskGroup { group in
      for part in 0..<parts {
        group.addTask {
          await Task.yield()
          await log.append("part \(part)")
        }
      }
    }
  }
}
