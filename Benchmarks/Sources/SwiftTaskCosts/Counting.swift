// SPDX-License-Identifier: Apache-2.0
import MmapStorageTesting

extension SwiftTaskCosts {
  /// Enters and leaves scopes, for callgrind to count the instructions. Needs no kernel with BPF.
  static func count(_ what: String) async throws {
    let requests = try FakeSwiftTasks<Request>().storage
    let n = Int(CommandLine.arguments.last ?? "") ?? 0
    switch what {
    case "async": await asynchronous(n, requests)
    case "async-local": await asynchronousLocals(n)
    case "sync": synchronous(n, requests)
    case "sync-local": synchronousLocals(n)
    default: print("not one of async, async-local, sync, sync-local: \(what)")
    }
  }
}
