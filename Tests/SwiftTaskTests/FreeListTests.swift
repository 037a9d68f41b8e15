// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import MmapStorageTesting
import Synchronization
import TestSupport
import Testing

/// The list of free slots, which has no lock. In a process of its own, so that no other thread waits
/// for a lock of malloc() that the stopped thread holds.
@Suite struct FreeListTests {
  /// Stops a thread anywhere in a scope. Meanwhile one thread takes the first free slot, another
  /// one takes the second, and the first is freed again (ABA).
  @Test func aThreadThatWasStoppedTakesNoSlotOfAnother() async {
    await #expect(processExitsWith: .success) {
      alarm(120)
      let storage = try FakeSwiftTasks<Request>(slots: 64).storage
      // Claims all slots, which needs a lock.
      storage.withValue({ _ in }) {}
      let shared = Shared()
      let stopped = try TestThread {
        let enterScopes: () -> Void = {
          storage.withValue({ $0.id = 1 }) {
            storage.withValue({ $0.id = 2 }) { storage.withValue({ $0.id = 3 }) {} }
          }
        }
        // The first calls acquire locks of the Swift runtime.
        for _ in 0..<1000 { enterScopes() }
        StoppedThread.install()
        while !shared.isDone.load(ordering: .relaxed) {
          enterScopes()
          shared.scopes.add(1, ordering: .relaxed)
        }
      }
      let other = try TestThread {
        for round in 1...Shared.rounds {
          spin {
            shared.entering.load(ordering: .acquiring) == round
              || shared.isDone.load(ordering: .relaxed)
          }
          if shared.isDone.load(ordering: .relaxed) { return }
          storage.withValue({ $0.id = 100 }) {
            shared.entered.store(round, ordering: .releasing)
            spin { shared.leaving.load(ordering: .acquiring) == round }
            if storage.withCurrent({ $0.id }) != 100 { shared.mistakes.add(1, ordering: .relaxed) }
          }
          shared.left.store(round, ordering: .releasing)
        }
      }
      // On a busy machine, a round takes much longer.
      let end = ContinuousClock.now + .seconds(5)
      for round in 1...Shared.rounds where ContinuousClock.now < end {
        StoppedThread.stop()
        storage.withValue({ $0.id = 200 }) {
          shared.entering.store(round, ordering: .releasing)
          spin { shared.entered.load(ordering: .acquiring) == round }
        }
        let before = shared.scopes.load(ordering: .relaxed)
        StoppedThread.resume()
        spin { shared.scopes.load(ordering: .relaxed) >= before + 2 }
        shared.leaving.store(round, ordering: .releasing)
        spin { shared.left.load(ordering: .acquiring) == round }
      }
      shared.isDone.store(true, ordering: .relaxed)
      try stopped.join()
      try other.join()
      #expect(shared.mistakes.load(ordering: .relaxed) == 0)
      #expect(storage.overflowCount == 0)
    }
  }
}

private final class Shared: Sendable {
  static let rounds = 5000
  /// The number of the round in which the other thread enters a scope, has entered it, leaves it and
  /// has left it.
  let entering = Atomic<Int>(0)
  let entered = Atomic<Int>(0)
  let leaving = Atomic<Int>(0)
  let left = Atomic<Int>(0)
  /// The scopes of the thread that is stopped.
  let scopes = Atomic<Int>(0)
  let mistakes = Atomic<Int>(0)
  let isDone = Atomic<Bool>(false)
}

/// Stops one thread with a signal.
private enum StoppedThread {
  static let thread = Box<pthread_t?>(nil)
  static let isStopped = Atomic<Bool>(false)
  static let mayContinue = Atomic<Bool>(false)

  /// Called on the thread.
  static func install() {
    signal(SIGUSR1) { _ in
      StoppedThread.isStopped.store(true, ordering: .releasing)
      spin { StoppedThread.mayContinue.load(ordering: .acquiring) }
      StoppedThread.isStopped.store(false, ordering: .releasing)
    }
    var signals = sigset_t()
    sigemptyset(&signals)
    sigaddset(&signals, SIGUSR1)
    pthread_sigmask(SIG_UNBLOCK, &signals, nil)
    thread.set(pthread_self())
  }

  static func stop() {
    mayContinue.store(false, ordering: .relaxed)
    spin { thread.get() != nil }
    if let thread = thread.get() { pthread_kill(thread, SIGUSR1) }
    spin { isStopped.load(ordering: .acquiring) }
  }

  static func resume() {
    mayContinue.store(true, ordering: .releasing)
    spin { !isStopped.load(ordering: .acquiring) }
  }
}

private func spin(until condition: () -> Bool) { while !condition() { sched_yield() } }
