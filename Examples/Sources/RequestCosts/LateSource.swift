// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A source that may be opened after the server has started. It is opened once, and never replaced.
final class LateSource: Sendable {
  final class Opened: Sendable {
    let source: CostsSource
    /// The time without counting; nil if the source was open from the start.
    let late: Duration?

    init(_ source: CostsSource, _ late: Duration?) {
      self.source = source
      self.late = late
    }
  }

  /// Retained until the end. Hot paths read it without reference counting, which all threads would
  /// share.
  private let opened = Atomic<Unmanaged<Opened>?>(nil)
  private let state = Mutex(State())

  private struct State {
    var isStopped = false
    var waiting: Task<Void, Never>?
  }

  deinit {
    state.withLock { $0.waiting?.cancel() }
    opened.load(ordering: .acquiring)?.release()
  }

  var isOpen: Bool { opened.load(ordering: .relaxed) != nil }

  /// Runs `body` with the source; returns nil if there is none.
  @inline(__always)
  func with<Result>(_ body: (Opened) -> Result) -> Result? {
    opened.load(ordering: .acquiring)?._withUnsafeGuaranteedRef { body($0) }
  }

  /// Uses a source, or stops it if ``stop()`` was called.
  ///
  /// - Returns: Whether it is used.
  func open(_ source: CostsSource, after late: Duration?) -> Bool {
    state.withLock { state in
      guard !state.isStopped else {
        source.stop()
        return false
      }
      opened.store(Unmanaged.passRetained(Opened(source, late)), ordering: .releasing)
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
