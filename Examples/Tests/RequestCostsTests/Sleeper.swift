// SPDX-License-Identifier: Apache-2.0
import Foundation
import RequestCosts
import RequestCostsDemo
import Synchronization
import Testing

/// A thread that sleeps a millisecond at a time, in system calls. No other thread makes these
/// calls.
final class Sleeper: Sendable {
  private let isStopped = Atomic<Bool>(false)

  init() {
    Thread.detachNewThread { [self] in
      while !isStopped.load(ordering: .relaxed) { Work.sleepBlocking(nanoseconds: 1_000_000) }
    }
  }

  func stop() { isStopped.store(true, ordering: .relaxed) }

  /// Checks that the thread's time does not exceed the elapsed time.
  static func check(
    _ costs: CostsReport.Figures,
    since earlier: CostsReport.Figures?,
    within time: UInt64
  ) {
    let slept = { (costs: CostsReport.Figures?) in costs?.blockedNanoseconds["sleep"] ?? 0 }
    let called = { (costs: CostsReport.Figures?) in costs?.callNanoseconds["time"] ?? 0 }
    #expect(slept(costs) > slept(earlier))
    #expect(slept(costs) - slept(earlier) <= time)
    #expect(called(costs) - called(earlier) <= time)
  }
}
