// SPDX-License-Identifier: Apache-2.0
import Histogram

/// The sums of each route. Bounded: at most 256 routes, a histogram of fixed size each, and 20 requests.
struct RouteTable: Sendable {
  private var routes: [String: Route] = [:]
  private var slowest: [FinishedRequest] = []
  private var running = 0
  /// The number of scopes that found no slot.
  var withoutSlot = 0
  /// Costs of scopes that belong to no counted request.
  private var uncounted = KernelCosts()
  /// Costs of requests that the programs have added to those outside of requests.
  private var moved = KernelCosts()

  private static var maximumRoutes: Int { 256 }
  private static var slowestCount: Int { 20 }
  private static var otherRoutes: String { "(other routes)" }

  private struct Route: Sendable {
    var requests = 0
    var failures = 0
    var costs = KernelCosts()
    /// Microseconds, up to an hour, with two digits.
    var durations = Histogram<UInt64>(
      highestTrackableValue: 3_600_000_000,
      numberOfSignificantValueDigits: .two
    )
    let metrics: RouteMetrics
  }

  mutating func begin() { running += 1 }

  mutating func finish(_ request: FinishedRequest) {
    guard request.isClaimed else {
      return addLate(request.costs, moved: request.moved, route: nil)
    }
    running -= 1
    moved += request.moved
    update(request.details.route) { route in
      route.requests += 1
      if request.details.status >= 500 { route.failures += 1 }
      route.costs += request.costs
      route.durations.record(min(max(request.nanoseconds / 1000, 1), 3_600_000_000))
      route.metrics.record(request)
    }
    remember(request)
  }

  mutating func addLate(_ costs: KernelCosts, moved amount: KernelCosts, route: String?) {
    moved += amount
    guard let route else {
      uncounted += costs
      return
    }
    update(route) { route in
      route.costs += costs
      route.metrics.add(costs)
    }
  }

  private mutating func update(_ name: String, _ change: (inout Route) -> Void) {
    let isKnown = routes[name] != nil || routes.count < Self.maximumRoutes
    let name = isKnown ? name : Self.otherRoutes
    change(&routes[name, default: Route(metrics: RouteMetrics(route: name))])
  }

  /// Keeps the slowest requests, the slowest first.
  private mutating func remember(_ request: FinishedRequest) {
    if slowest.count == Self.slowestCount {
      guard let last = slowest.last, request.nanoseconds > last.nanoseconds else { return }
      slowest.removeLast()
    }
    let index = slowest.firstIndex { $0.nanoseconds < request.nanoseconds } ?? slowest.count
    slowest.insert(request, at: index)
  }

  /// The costs outside of requests. `counted` is the part that the programs added.
  func outside(_ counted: KernelCosts) -> KernelCosts {
    var outside = counted
    outside += uncounted
    return outside.since(moved)
  }

  func report() -> CostsReport {
    var report = CostsReport()
    report.running = running
    report.withoutSlot = withoutSlot
    report.routes = routes.map { name, route in
      CostsReport.Route(
        route: name,
        requests: route.requests,
        failures: route.failures,
        p50Nanoseconds: route.durations.valueAtPercentile(50) * 1000,
        p99Nanoseconds: route.durations.valueAtPercentile(99) * 1000,
        costs: CostsReport.Figures(route.costs)
      )
    }.sorted { $0.route < $1.route }
    report.slowest = slowest.map { CostsReport.Request($0) }
    return report
  }
}
