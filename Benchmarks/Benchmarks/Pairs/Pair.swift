import Benchmark
import CBaselines
import Glibc

/// The two sides of a comparison. Each runs its operation as often as it is told.
struct Pair {
  var name: String
  var ours: (Int) throws -> Void
  var baseline: (Int) throws -> Void
  /// Operations of one batch; nil finds out how many take about a millisecond.
  var batch: Int?
}

private let isQuick = getenv("MMAPSTORAGE_QUICK") != nil

/// Picoseconds of one operation, and how many millionths of the baseline's ours takes.
private let ours = BenchmarkMetric.custom("ours (ps)", polarity: .prefersSmaller)
private let baseline = BenchmarkMetric.custom("baseline (ps)", polarity: .prefersSmaller)
private let ratio = BenchmarkMetric.custom("ratio (millionths)", polarity: .prefersSmaller)

/// Registers a benchmark whose every sample runs both sides in turn, A B B A, so that the drift of a
/// machine that others use as well is in both, and keeps the ratio of each sample.
func compare(_ pair: Pair) {
  var batch = pair.batch ?? 1
  Benchmark(
    pair.name,
    configuration: .init(
      metrics: [ours, baseline, ratio],
      units: [ours: .count, baseline: .count, ratio: .count],
      warmupIterations: 2,
      scalingFactor: .one,
      maxDuration: isQuick ? .milliseconds(300) : .seconds(3),
      maxIterations: isQuick ? 51 : 301
    )
  ) { benchmark in
    if pair.batch == nil, batch == 1 { batch = try operationsInAMillisecond(pair.baseline) }
    var times = (ours: Int64(0), baseline: Int64(0))
    times.ours += try time(batch, pair.ours)
    times.baseline += try time(batch, pair.baseline)
    times.baseline += try time(batch, pair.baseline)
    times.ours += try time(batch, pair.ours)
    let operations = Int64(2 * batch)
    benchmark.measurement(ours, Int(times.ours * 1000 / operations))
    benchmark.measurement(baseline, Int(times.baseline * 1000 / operations))
    benchmark.measurement(ratio, Int(times.ours * 1_000_000 / max(1, times.baseline)))
  }
}

private func time(_ count: Int, _ body: (Int) throws -> Void) rethrows -> Int64 {
  let before = baseline_now()
  try body(count)
  return baseline_now() - before
}

private func operationsInAMillisecond(_ body: (Int) throws -> Void) rethrows -> Int {
  var count = 1
  while try time(count, body) < 1_000_000 { count *= 2 }
  return count
}
