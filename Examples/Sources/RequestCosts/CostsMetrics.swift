// SPDX-License-Identifier: Apache-2.0
import Metrics

/// The figures as metrics of swift-metrics. Times are in nanoseconds.
struct CostCounters: Sendable {
  private let userTime: Counter
  private let kernelTime: Counter
  private let runQueueTime: Counter
  private let blockedTime: [Counter]
  private let calls: [Counter]
  private let callTime: [Counter]
  private let pageFaults: Counter
  private let bytesRead: Counter
  private let bytesWritten: Counter
  private let tcpReceived: Counter
  private let tcpSent: Counter

  init(_ dimensions: [(String, String)]) {
    func counter(_ name: String, _ key: String? = nil, _ value: String = "") -> Counter {
      Counter(
        label: "request_costs_\(name)",
        dimensions: dimensions + (key.map { [($0, value)] } ?? [])
      )
    }
    userTime = counter("cpu_nanoseconds", "mode", "user")
    kernelTime = counter("cpu_nanoseconds", "mode", "kernel")
    runQueueTime = counter("run_queue_nanoseconds")
    blockedTime = BlockingCause.allCases.map { counter("blocked_nanoseconds", "cause", "\($0)") }
    calls = SystemCallClass.allCases.map { counter("system_calls", "class", "\($0)") }
    callTime = SystemCallClass.allCases.map {
      counter("system_call_nanoseconds", "class", "\($0)")
    }
    pageFaults = counter("page_faults")
    bytesRead = counter("read_bytes")
    bytesWritten = counter("written_bytes")
    tcpReceived = counter("tcp_received_bytes")
    tcpSent = counter("tcp_sent_bytes")
  }

  func add(_ costs: KernelCosts) {
    add(costs.userTime, to: userTime)
    add(costs.kernelTime, to: kernelTime)
    add(costs.runQueueTime, to: runQueueTime)
    add(costs.pageFaults, to: pageFaults)
    add(costs.bytesRead, to: bytesRead)
    add(costs.bytesWritten, to: bytesWritten)
    add(costs.tcpReceived, to: tcpReceived)
    add(costs.tcpSent, to: tcpSent)
    for index in blockedTime.indices { add(costs.blockedTime[index], to: blockedTime[index]) }
    for index in calls.indices { add(costs.calls[index], to: calls[index]) }
    for index in callTime.indices { add(costs.callTime[index], to: callTime[index]) }
  }

  @inline(__always)
  private func add(_ amount: UInt64, to counter: @autoclosure () -> Counter) {
    // Other servers that use the same pins can write any amount.
    if amount != 0 { counter().increment(by: Int64(clamping: amount)) }
  }
}

/// The metrics of a route.
struct RouteMetrics: Sendable {
  private let duration: Timer
  private let counters: CostCounters

  init(route: String) {
    duration = Timer(label: "request_costs_duration", dimensions: [("route", route)])
    counters = CostCounters([("route", route)])
  }

  func record(_ request: FinishedRequest) {
    duration.recordNanoseconds(Int64(clamping: request.nanoseconds))
    counters.add(request.costs)
  }

  func add(_ costs: KernelCosts) { counters.add(costs) }
}

/// The metrics of work outside of requests.
struct OutsideMetrics: Sendable {
  private let counters = CostCounters([("route", "(outside)")])
  private var reported = KernelCosts()

  mutating func report(_ total: KernelCosts) {
    // It may decrease slightly, because the read of a request is subtracted from it at the
    // request's end.
    let more = total.since(reported)
    counters.add(more)
    reported += more
  }
}
