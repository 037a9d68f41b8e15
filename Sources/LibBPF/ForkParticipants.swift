// SPDX-License-Identifier: Apache-2.0
import Glibc

/// An object whose lock is free and whose state is consistent in the child of a `fork`.
package protocol ForkParticipant: AnyObject, Sendable {
  /// Acquires the lock. Runs on the forking thread, before `fork`.
  func prepareForFork()

  /// Releases the lock in the parent.
  func resumeInParent()

  /// Discards the state of threads that do not exist in the child, and releases the lock. Runs on
  /// the child's only thread.
  func resumeInChild()
}

/// The order in which `fork` acquires the locks of participants. It is also the lock order: a thread
/// that holds a lock may acquire only locks of a later rank. Locks of one rank are never nested.
///
/// ARCHITECTURE.md lists the ranks of all modules.
package struct ForkRank: Hashable, Comparable, Sendable {
  private let position: Int

  /// - Parameter position: Negative for a rank before ``object``, positive for one after it.
  package init(position: Int) { self.position = position }

  /// One BPF object.
  package static let object = ForkRank(position: 0)

  package static func < (a: ForkRank, b: ForkRank) -> Bool { a.position < b.position }
}

/// The only `pthread_atfork` handlers of the package.
///
/// Before `fork` they acquire the locks of all participants, rank by rank, so that no other thread is
/// inside of a guarded section when the child is made. Afterwards they release them in reverse order,
/// in the parent and in the child.
package enum ForkParticipants {
  private struct State {
    var participants: [ForkRank: [any ForkParticipant]] = [:]
    /// The number of participants that were ever added.
    var additions = 0
    /// The participants whose locks the forking thread holds.
    var held: [any ForkParticipant] = []
    /// The result of `pthread_atfork`; not 0 before the first call.
    var installation: Int32 = -1
  }

  /// No other lock is acquired while this one is held, so a participant may be added and removed
  /// under any of the others.
  private static let state = ForkSafeMutex(State())

  /// Adds a participant. The caller removes it before it is deallocated.
  ///
  /// - Returns: Whether the handlers are installed. If the process has no memory for them, the
  ///   next call tries again.
  @discardableResult
  package static func add(_ participant: any ForkParticipant, rank: ForkRank) -> Bool {
    let (isFirst, isInstalled) = state.withLock { state in
      state.participants[rank, default: []].append(participant)
      state.additions += 1
      return (state.additions == 1, install(&state))
    }
    // The caller holds no participant's lock, because there was no participant.
    if isFirst { rehearse() }
    return isInstalled
  }

  /// Removes a participant.
  package static func remove(_ participant: any ForkParticipant, rank: ForkRank) {
    state.withLock { state in
      guard let index = state.participants[rank]?.lastIndex(where: { $0 === participant })
      else { return }
      state.participants[rank]?.remove(at: index)
    }
  }

  /// Whether the handlers are installed. Tries again if they are not.
  package static var isInstalled: Bool { state.withLock { install(&$0) } }

  private static func install(_ state: inout State) -> Bool {
    if state.installation != 0 {
      state.installation = pthread_atfork(
        { ForkParticipants.prepare() },
        { ForkParticipants.resumeInParent() },
        { ForkParticipants.resumeInChild() }
      )
    }
    return state.installation == 0
  }

  private static func prepare() {
    while true {
      let (additions, ranks) = state.withLock { ($0.additions, $0.participants.keys.sorted()) }
      var held: [any ForkParticipant] = []
      for rank in ranks {
        for participant in state.withLock({ $0.participants[rank] ?? [] }) {
          participant.prepareForFork()
          held.append(participant)
        }
      }
      // No participant can be added from here on.
      let isComplete = state.lock(if: { state in
        guard state.additions == additions else { return false }
        state.held = held
        return true
      })
      if isComplete { return }
      for participant in held.reversed() { participant.resumeInParent() }
    }
  }

  private static func resumeInParent() {
    for participant in heldParticipants().reversed() { participant.resumeInParent() }
  }

  private static func resumeInChild() {
    for participant in heldParticipants().reversed() { participant.resumeInChild() }
  }

  private static func heldParticipants() -> [any ForkParticipant] {
    state.unlock { state in
      defer { state.held = [] }
      return state.held
    }
  }

  /// Runs the parent's steps once. In debug builds the Swift runtime creates metadata on first use,
  /// with a lock held that is not released in a child.
  private static func rehearse() {
    prepare()
    resumeInParent()
  }
}
