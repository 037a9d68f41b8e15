// SPDX-License-Identifier: Apache-2.0
import Foundation
import RequestCosts
import RequestCostsDemo
import Testing

@Suite struct CostsTableTests {
  private func report(seconds: Double, requests: Int, withoutSlot: Int = 0) throws -> CostsReport {
    func figures(user: UInt64, kernel: UInt64) -> String {
      """
      {"kernelNanoseconds": \(kernel), "userNanoseconds": \(user), "samples": 0,
       "runQueueNanoseconds": 80000000, "runQueueWaits": 4,
       "blockedNanoseconds": {"sleep": 300000000, "futex": 500000000, "file": 100000000,
         "poll": 99999998, "socket": 2},
       "calls": {"process": 10, "file": 2}, "callNanoseconds": {}, "pageFaults": 0, "bytesRead": 0,
       "bytesWritten": 0, "tcpReceived": 0, "tcpSent": 0}
      """
    }
    let json = """
      {"source": "a test", "missing": [], "seconds": \(seconds), "running": 0,
       "withoutSlot": \(withoutSlot), "unreadable": 7, "processNanoseconds": 12000000000,
       "outside": \(figures(user: 300, kernel: 20)), "slowest": [],
       "routes": [{"route": "GET /a", "requests": \(requests), "failures": 0,
         "p50Nanoseconds": 1234567, "p99Nanoseconds": 345678901,
         "costs": \(figures(user: 6_000_000, kernel: 2_000_000))},
        {"route": "GET /b/{x}", "requests": 0, "failures": 0,
         "p50Nanoseconds": 999, "p99Nanoseconds": 1000,
         "costs": \(figures(user: .max, kernel: 1))}]}
      """
    return try JSONDecoder().decode(CostsReport.self, from: Data(json.utf8))
  }

  /// A server without privileges counts requests and durations only.
  @Test func figuresThatAreNotCounted() throws {
    let json = """
      {"source": "none", "missing": [], "seconds": 1, "running": 0, "withoutSlot": 0,
       "processNanoseconds": 1, "slowest": [],
       "routes": [{"route": "GET /a", "requests": 2, "failures": 0, "p50Nanoseconds": 1000,
         "p99Nanoseconds": 2000,
         "costs": {"kernelNanoseconds": 0, "userNanoseconds": 0, "samples": 0,
           "runQueueNanoseconds": 0, "runQueueWaits": 0, "blockedNanoseconds": {}, "calls": {},
           "callNanoseconds": {}, "pageFaults": 0, "bytesRead": 0, "bytesWritten": 0,
           "tcpReceived": 0, "tcpSent": 0}}]}
      """
    let report = try JSONDecoder().decode(CostsReport.self, from: Data(json.utf8))
    #expect(
      CostsTable(report).description == """
        route   requests  req/s     p50     p99  CPU  run queue  blocked  on what  calls
        GET /a         2      2  1.0 µs  2.0 µs    -          -        -  -            -

        """
    )
  }

  @Test func averagesAndRates() throws {
    let before = try report(seconds: 10, requests: 3)
    let table = CostsTable(try report(seconds: 12, requests: 4, withoutSlot: 3), since: before)
    #expect(
      table.description == """
        route       requests  req/s     p50     p99            CPU  run queue  blocked  on what             calls
        GET /a             4      1  1.2 ms  346 ms         2.0 ms    20.0 ms   250 ms  futex, sleep, file    3.0
        GET /b/{x}         0      0  999 ns  1.0 µs  18446744074 s    80.0 ms    1.0 s  futex, sleep, file   12.0

        CPU in requests 18446744074 s, outside of requests (accepting, polling) 320 ns; of the process 12.0 s
        3 without a slot
        7 events count as outside of requests: the kernel was moving memory
        """
    )
  }
}
