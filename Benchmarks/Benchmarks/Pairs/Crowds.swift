// SPDX-License-Identifier: Apache-2.0
import CBaselines
import Glibc
import MmapStorage
import Operations

/// Threads that are attached at the same time: the cost of each as their number grows.
func crowds() throws {
  let objects = try (0..<Int(CROWD_STORAGES)).compactMap { _ in try loadValues(for: .userPage) }
  guard objects.count == Int(CROWD_STORAGES) else { return }
  let storages = try Storages(objects.map { try .init(map: $0.map("values")) })
  let maps = try objects.map { try $0.map("theirs") }

  func compare(
    _ what: String,
    in unit: Unit = .nanoseconds,
    upTo most: Int = 10_000,
    _ figure: KeyPath<crowd_figures, Double>
  ) {
    for threads in isQuick ? [10, 100] : [10, 100, 1_000, 10_000] where threads <= most {
      Pairs.compare(
        "scale: \(what), \(threads) threads at once (userPage | the same in C)",
        in: unit,
        seconds: threads == 10_000 ? 20 : 3,
        ours: { try storages.crowd(of: threads)[keyPath: figure] },
        baseline: {
          var figures = crowd_figures()
          try check(baseline_crowd(CInt(threads), maps.map { try number(of: $0) }, &figures))
          return figures[keyPath: figure]
        }
      )
    }
  }
  compare("attach", \.attach_nanoseconds)
  compare("removal", \.detach_nanoseconds)
  compare("resident memory", in: .bytes, \.resident_bytes)
  // With the few storages of a larger crowd, the mean would not be one of several.
  compare("heap", in: .bytes, upTo: 1_000, \.heap_bytes)
  compare("heap for a thread's first storage", in: .bytes, upTo: 1_000, \.first_heap_bytes)
}

private final class Storages: Sendable {
  let all: [TaskLocalStorage<Counters>]

  init(_ all: [TaskLocalStorage<Counters>]) { self.all = all }

  func crowd(of threads: Int) throws -> crowd_figures {
    var steps = crowd_steps(
      context: Unmanaged.passUnretained(self).toOpaque(),
      attach: { context, storage in
        Storages.run(context, storage) { try $0.withCurrent { $0.b = 1 } }
      },
      detach: { context, storage in
        Storages.run(context, storage) { _ = try $0.removeValue(of: .thread(.current)) }
      }
    )
    var figures = crowd_figures()
    try check(crowd_run(CInt(threads), &steps, &figures))
    return figures
  }

  private static func run(
    _ context: UnsafeMutableRawPointer?,
    _ storage: CInt,
    _ body: (TaskLocalStorage<Counters>) throws -> Void
  ) -> CInt {
    guard let context else { return -EINVAL }
    let storages = Unmanaged<Storages>.fromOpaque(context).takeUnretainedValue()
    do {
      try body(storages.all[Int(storage)])
      return 0
    } catch let error as BPFError {
      return -(error.errno?.rawValue ?? EIO)
    } catch {
      return -EIO
    }
  }
}
