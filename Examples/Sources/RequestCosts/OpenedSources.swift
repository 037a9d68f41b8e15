// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// The sources of costs of a server, one at a time. The first one may be opened after the server has started,
/// and each later one replaces a source whose loader has ended.
final class OpenedSources: Sendable {
  final class Opened: Sendable {
    let source: CostsSource
    /// The figures of the sources before it.
    let earlier: EarlierFigures

    init(_ source: CostsSource, _ earlier: EarlierFigures) {
      self.source = source
      self.earlier = earlier
    }
  }

  /// The last of `State.opened`. Hot paths read it without reference counting, which all threads would share.
  private let current = Atomic<Unmanaged<Opened>?>(nil)
  private let state = Mutex(State())

  private struct State {
    var isStopped = false
    var waiting: Task<Void, Never>?
    /// Retained until the end, because other threads may use them.
    var opened: [Opened] = []
  }

  deinit { state.withLock { $0.waiting?.cancel() } }

  var isOpen: Bool { current.load(ordering: .relaxed) != nil }

  /// Runs `body` with the source; returns nil if there is none.
  @inline(__always)
  func with<Result>(_ body: (Opened) -> Result) -> Result? {
    current.load(ordering: .acquiring)?._withUnsafeGuaranteedRef { body($0) }
  }

  /// Uses a source instead of the last one, or stops it if ``stop()`` was called.
  ///
  /// - Parameters:
  ///   - source: The source.
  ///   - uncounted: The time without counting before it.
  /// - Returns: Whether it is used.
  func open(_ source: CostsSource, after uncounted: Duration) -> Bool {
    state.withLock { state in
      guard !state.isStopped else {
        source.stop()
        return false
      }
      var earlier = EarlierFigures()
      if let last = state.opened.last {
        earlier = last.earlier
        earlier.add(last.source)
        last.source.stop()
        last.source.openScopes?.removeAll()
      }
      earlier.uncounted += uncounted
      let next = Opened(source, earlier)
      state.opened.append(next)
      current.store(Unmanaged.passUnretained(next), ordering: .releasing)
      return true
    }
  }

  /// Calls `attempt` repeatedly, until it returns nil instead of the time to wait, or ``stop()`` is
  /// called.
  func wait(_ attempt: @escaping @Sendable () async -> Duration?) {
    let task = Task.detached {
      var pause: Duration? = .seconds(1)
      while let next = pause, (try? await Task.sleep(for: next)) != nil { pause = await attempt() }
    }
    state.withLock { state in
      state.waiting = task
      if state.isStopped { task.cancel() }
    }
  }

  func stop() {
    state.withLock { state in
      state.isStopped = true
      state.waiting?.cancel()
    }
    with { $0.source.stop() }
  }
}

/// The figures of sources that were replaced.
struct EarlierFigures: Sendable {
  var outside = KernelCosts()
  var missedRuns: UInt64 = 0
  var unreadable = 0
  /// The time without counting.
  var uncounted = Duration.zero

  /// Adds those of a source whose programs do not run any more.
  mutating func add(_ source: CostsSource) {
    if let costs = try? source.outside() { outside += costs }
    missedRuns &+= source.missedRuns ?? 0
    unreadable += (try? source.requests.unreadableCount()) ?? 0
  }
}
