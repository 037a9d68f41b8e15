// SPDX-License-Identifier: Apache-2.0
import Benchmark
import CBaselines
import Glibc

/// The two sides of a comparison. Each runs its operation the given number of times.
struct Pair {
  var name: String
  var ours: (Int) throws -> Void
  var baseline: (Int) throws -> Void
  /// Operations of one batch; nil determines the number that takes about a millisecond.
  var batch: Int?
}

let isQuick = getenv("MMAPSTORAGE_QUICK") != nil

/// The unit of the two sides of a comparison; the samples are in thousandths of it.
enum Unit: String {
  case nanoseconds = "ps"
  case bytes = "millibytes"
}

/// Registers a benchmark. Each sample runs both sides in turn, A B B A, so that drift of a shared
/// machine affects both, and stores the ratio.
func compare(_ pair: Pair) {
  var batch = pair.batch
  func time(_ body: (Int) throws -> Void) throws -> Double {
    let count = try batch ?? operationsInAMillisecond(pair.baseline)
    batch = count
    return try Double(nanoseconds(count, body)) / Double(count)
  }
  compare(pair.name, ours: { try time(pair.ours) }, baseline: { try time(pair.baseline) })
}

/// The same for sides that measure themselves.
func compare(
  _ name: String,
  in unit: Unit = .nanoseconds,
  seconds: Int = 3,
  ours: @escaping () throws -> Double,
  baseline: @escaping () throws -> Double
) {
  let metrics = (
    ours: BenchmarkMetric.custom("ours (\(unit.rawValue))", polarity: .prefersSmaller),
    baseline: BenchmarkMetric.custom("baseline (\(unit.rawValue))", polarity: .prefersSmaller),
    ratio: BenchmarkMetric.custom("ratio (millionths)", polarity: .prefersSmaller)
  )
  Benchmark(
    name,
    configuration: .init(
      metrics: [metrics.ours, metrics.baseline, metrics.ratio],
      units: [metrics.ours: .count, metrics.baseline: .count, metrics.ratio: .count],
      warmupIterations: 1,
      scalingFactor: .one,
      maxDuration: isQuick ? .milliseconds(300) : .seconds(seconds),
      maxIterations: isQuick ? 51 : 301
    )
  ) { benchmark in
    var sums = (ours: 0.0, baseline: 0.0)
    sums.ours += try ours()
    sums.baseline += try baseline()
    sums.baseline += try baseline()
    sums.ours += try ours()
    benchmark.measurement(metrics.ours, Int(sums.ours / 2 * 1000))
    benchmark.measurement(metrics.baseline, Int(sums.baseline / 2 * 1000))
    benchmark.measurement(metrics.ratio, Int(sums.ours / max(sums.baseline, 0.001) * 1_000_000))
  }
}

func nanoseconds(_ count: Int, _ body: (Int) throws -> Void) rethrows -> Int64 {
  let before = baseline_now()
  try body(count)
  return baseline_now() - before
}

private func operationsInAMillisecond(_ body: (Int) throws -> Void) rethrows -> Int {
  var count = 1
  while try nanoseconds(count, body) < 1_000_000 { count *= 2 }
  return count
}
