// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MmapStorage
import MmapStorageTesting
import SyscallCounting

@main
struct SyscallCounters: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Counts the system calls of its threads with a BPF program.",
    discussion: """
      Each thread writes to its task-local storage which share of its calls the program samples, \
      makes its calls, and reads its counters from the same storage.
      """
  )

  @Option(help: "The number of calls of each thread.")
  var calls = 1_000

  @Flag(help: "Count in memory of the process instead of in the kernel.")
  var fake = false

  func validate() throws {
    guard (1...10_000_000).contains(calls) else {
      throw ValidationError("--calls takes a number from 1 to 10000000")
    }
  }

  func run() throws {
    let workers = [
      Worker(name: "reader", sampling: 1, plan: [(.reading, calls)]),
      Worker(name: "asker", sampling: 4, plan: [(.asking, calls)]),
      Worker(name: "yielder", sampling: 10, plan: [(.yielding, calls)]),
      Worker(name: "sleeper", sampling: 1, plan: [(.sleeping, max(calls / 10, 1))]),
      Worker(name: "mixed", sampling: 3, plan: [(.reading, calls / 2), (.asking, calls / 4)]),
    ]
    let (results, missed) = try fake ? (runFake(workers), 0) : runLive(workers)
    print(ResultTable(results))
    print("Cells: calls / sampled calls. Column 'bpf' has the calls of the storage itself.\n")

    let mistakes = results.flatMap(\.mistakes)
    let missing = results.compactMap(\.missing)
    let sum = missing.reduce(0, +)
    if !mistakes.isEmpty, missing.count == workers.count, sum <= missed {
      print("The kernel did not run the program at \(sum) calls (recursion_misses).")
      return
    }
    guard mistakes.isEmpty, results.count == workers.count else {
      print((["The counts are wrong:"] + mistakes).joined(separator: "\n"))
      throw ExitCode.failure
    }
    print("All counts are correct.")
  }

  private func runLive(
    _ workers: [Worker]
  ) throws -> (results: [Worker.Result], missed: UInt64) {
    let counter: CallCounter
    do {
      counter = try CallCounter()
    } catch let error as BPFError
      where [.permissionDenied, .unsupported, .loadFailed].contains(error.kind)
    {
      print("No BPF here: \(error)\n")
      return (try runFake(workers), 0)
    }
    print("Counting on the live kernel; backend \(counter.counters.backend)\n")
    let results = try WorkerPool.run(workers, counters: counter.counters)
    return (results, try counter.missedCalls())
  }

  private func runFake(_ workers: [Worker]) throws -> [Worker.Result] {
    let backend = try FakeBackend(layoutOf: CallCounters.self)
    let counters = try TaskLocalStorage<CallCounters>(backend: backend)
    print("Counting in memory; backend \(counters.backend)\n")
    return try WorkerPool.run(workers, counters: counters) { kind in
      backend.program(on: .current, as: CallCounters.self) { view in
        if view.seen[kind.rawValue] % UInt64(view.sampling) == 0 {
          view.sampled[kind.rawValue] += 1
        }
        view.seen[kind.rawValue] += 1
      }
    }
  }
}
