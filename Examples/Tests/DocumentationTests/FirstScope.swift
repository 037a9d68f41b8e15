// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

typealias Request = Requests.Request

func handle() async throws { _ = getppid() }

/// The program of the article on Swift concurrency.
func firstScope() async throws -> Request? {
  let object = try Requests.load()
  let requests = try await object.maps.requests.open()
  let (_, totals) = try await requests.withValue({ $0.id = 42 }) {
    try await handle()
  }
  print("Request 42 made \(totals?.calls ?? 0) calls.")
  return totals
}
