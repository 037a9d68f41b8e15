// SPDX-License-Identifier: Apache-2.0
import RequestCostsDemo
import Synchronization

/// Makes system calls of class `process` until it is stopped.
final class EndlessWork: Sendable {
  let calls = Atomic<UInt64>(0)
  let running = Atomic<Int>(0)
  private let isStopped = Atomic<Bool>(false)

  func run() async {
    running.add(1, ordering: .relaxed)
    while !isStopped.load(ordering: .relaxed) {
      Work.call(times: 100)
      calls.add(100, ordering: .relaxed)
      try? await Task.sleep(for: .milliseconds(1))
    }
    running.subtract(1, ordering: .relaxed)
  }

  func stop() { isStopped.store(true, ordering: .relaxed) }
}
