import CBaselines
import Glibc
import MmapStorage
import Operations

/// Threads that are attached at the same time: what each costs as they become more.
func crowds() throws {
  guard let ours = try loadValues(for: .userPage), let theirs = try loadValues(for: .userPage)
  else { return }
  let storages = try Storages(
    first: .init(map: ours.map("values")),
    second: .init(map: ours.map("theirs"))
  )
  let maps = try (first: theirs.map("values"), second: theirs.map("theirs"))

  func compare(
    _ what: String,
    in unit: Unit = .nanoseconds,
    _ figure: KeyPath<crowd_figures, Double>
  ) {
    for threads in isQuick ? [10, 100] : [10, 100, 1_000, 10_000] {
      Pairs.compare(
        "scale: \(what), \(threads) threads at once (userPage | the same in C)",
        in: unit,
        seconds: threads == 10_000 ? 20 : 3,
        ours: { try storages.crowd(of: threads)[keyPath: figure] },
        baseline: {
          var figures = crowd_figures()
          try check(
            baseline_crowd(CInt(threads), number(of: maps.first), number(of: maps.second), &figures)
          )
          return figures[keyPath: figure]
        }
      )
    }
  }
  compare("attach", \.attach_nanoseconds)
  compare("removal", \.detach_nanoseconds)
  compare("resident memory", in: .bytes, \.bytes)
}

private final class Storages: Sendable {
  let first: TaskLocalStorage<Counters>
  let second: TaskLocalStorage<Counters>

  init(first: TaskLocalStorage<Counters>, second: TaskLocalStorage<Counters>) {
    self.first = first
    self.second = second
  }

  func crowd(of threads: Int) throws -> crowd_figures {
    var steps = crowd_steps(
      context: Unmanaged.passUnretained(self).toOpaque(),
      attach: { context, storage in
        Storages.run(context, storage) { try $0.withCurrent { $0.b = 1 } }
      },
      detach: { context, storage in
        Storages.run(context, storage) { _ = try $0.removeValue(of: .current) }
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
      try body(storage == 0 ? storages.first : storages.second)
      return 0
    } catch let error as StorageError {
      return -(error.errno?.rawValue ?? EIO)
    } catch {
      return -EIO
    }
  }
}
