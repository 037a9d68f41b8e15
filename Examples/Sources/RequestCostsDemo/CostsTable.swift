// SPDX-License-Identifier: Apache-2.0
public import RequestCosts

/// A report as text, with a row for each route.
public struct CostsTable: CustomStringConvertible {
  private let report: CostsReport
  private let previous: CostsReport?

  /// - Parameters:
  ///   - report: The report.
  ///   - previous: An earlier report, for the rates; nil for those since the start.
  public init(_ report: CostsReport, since previous: CostsReport? = nil) {
    self.report = report
    self.previous = previous
  }

  /// The table. Costs are averages over the requests.
  public var description: String {
    let seconds = max(report.seconds - (previous?.seconds ?? 0), 0.001)
    var rows = [
      [
        "route", "requests", "req/s", "p50", "p99", "CPU", "run queue", "blocked", "on what",
        "calls",
      ]
    ]
    for route in report.routes {
      let before = previous?.routes.first { $0.route == route.route }?.requests ?? 0
      let count = max(route.requests, 1)
      let costs = route.costs
      rows.append([
        route.route,
        "\(route.requests)",
        "\(Int((Double(route.requests - before) / seconds).rounded()))",
        Self.time(route.p50Nanoseconds),
        Self.time(route.p99Nanoseconds),
        Self.time(Self.processorTime(costs) / UInt64(count)),
        Self.time(costs.runQueueNanoseconds / UInt64(count)),
        Self.time(Self.sum(costs.blockedNanoseconds.values) / UInt64(count)),
        Self.causes(costs),
        Self.average(Self.sum(costs.calls.values), count),
      ])
    }
    var lines = Self.aligned(rows)
    lines.append("")
    if let outside = report.outside {
      let inside = Self.sum(report.routes.map { Self.processorTime($0.costs) })
      let rest = Self.processorTime(outside)
      lines.append(
        "CPU in requests \(Self.time(inside)), outside of requests (accepting, polling) "
          + "\(Self.time(rest)); of the process \(Self.time(report.processNanoseconds))"
      )
    }
    if report.withoutSlot > 0 { lines.append("\(report.withoutSlot) without a slot") }
    if let unreadable = report.unreadable, unreadable > 0 {
      lines.append(
        "\(unreadable) events count as outside of requests: the kernel was moving memory"
      )
    }
    return lines.joined(separator: "\n")
  }

  /// The causes that make up at least a tenth of the blocked time, the largest first.
  private static func causes(_ costs: CostsReport.Figures) -> String {
    let total = sum(costs.blockedNanoseconds.values)
    let causes = costs.blockedNanoseconds.filter { $0.value > 0 && $0.value >= total / 10 }
      .sorted { ($1.value, $0.key) < ($0.value, $1.key) }
    return causes.isEmpty ? "-" : causes.map(\.key).joined(separator: ", ")
  }

  private static func processorTime(_ costs: CostsReport.Figures) -> UInt64 {
    sum([costs.userNanoseconds, costs.kernelNanoseconds])
  }

  /// At most the largest number: other servers that use the same pins can write any costs.
  private static func sum(_ amounts: some Sequence<UInt64>) -> UInt64 {
    amounts.reduce(0) { sum, amount in
      let (sum, overflow) = sum.addingReportingOverflow(amount)
      return overflow ? .max : sum
    }
  }

  /// Three digits and a unit.
  static func time(_ nanoseconds: UInt64) -> String {
    switch nanoseconds {
    case 0: "-"
    case ..<1000: "\(nanoseconds) ns"
    case ..<1_000_000: decimal(Double(nanoseconds) / 1e3) + " µs"
    case ..<1_000_000_000: decimal(Double(nanoseconds) / 1e6) + " ms"
    default: decimal(Double(nanoseconds) / 1e9) + " s"
    }
  }

  /// A dash for none, as for a time: the calls may not have been counted.
  private static func average(_ sum: UInt64, _ count: Int) -> String {
    sum == 0 ? "-" : decimal(Double(sum) / Double(count))
  }

  static func decimal(_ number: Double) -> String {
    number >= 100
      ? "\(Int(min(number, 1e18).rounded()))" : "\((number * 10).rounded() / 10)"
  }

  private static func aligned(_ rows: [[String]]) -> [String] {
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      row.enumerated().map { column, cell in
        let padding = String(repeating: " ", count: widths[column] - cell.count)
        return column == 0 || column == 8 ? cell + padding : padding + cell
      }.joined(separator: "  ")
    }
  }
}
