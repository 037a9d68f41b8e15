// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct request` of follow.bpf.c; checked against it field by field when the storage is opened.
struct Request: MapValue {
  var id: UInt64
  var writes: UInt64
}

/// Shared by all requests.
actor Log {
  private let file = open("/dev/null", O_WRONLY)

  func append(_ line: String) { _ = write(file, line, line.utf8.count) }
}

@main struct Follow {
  static func main() async throws {
    let object = try BPFObject(.follow)
    try object.load()
    try object.attach()
    let requests = try await SwiftTaskStorage<Request>(object, "requests")

    let log = Log()
    let totals = await withTaskGroup { group in
      for id in 1...4 {
        group.addTask {
          await requests.withValue({ $0.id = UInt64(id) }) {
            await handle(parts: id * 10, log)
          }.snapshot
        }
      }
      var totals: [Request] = []
      for await total in group { if let total { totals.append(total) } }
      return totals
    }
    for request in totals.sorted(by: { $0.id < $1.id }) {
      print("Request \(request.id): \(request.writes) writes")
    }
  }

  /// Knows nothing of the storage.
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
