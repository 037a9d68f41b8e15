// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import Synchronization
import TestSupport

/// Signals interrupt a thread anywhere, also in the library. With a direct backend, the handler
/// finds the thread's own value each time. With others it only counts, and interrupted system calls
/// are not failures.
func signals(_ backend: StressedBackend, _ clock: Deadline) throws -> Int {
  let storages = try backend.makeStorages()
  interrupted = nil
  signalCount.store(0, ordering: .relaxed)
  wrongCount.store(0, ordering: .relaxed)
  var action = sigaction()
  action.__sigaction_handler.sa_handler = { _ in handleSignal() }
  sigaction(SIGUSR1, &action, nil)
  defer { signal(SIGUSR1, SIG_IGN) }

  let isAttached = Gate(), isOver = Box(false)
  let target = Box<PThread?>(nil)
  let thread = try TestThread {
    try storages.use(as: handlersOwner)
    // A handler must not attach a thread, so no signals are sent before.
    if backend == .fakeDirect || backend == .userPage || backend == .mapped {
      interrupted = storages.first
    }
    target.set(PThread(pthread_self()))
    isAttached.open()
    while !isOver.get() {
      let others = try (0..<20).map { _ in try storages.makeAnother() }
      for other in others { try other.withCurrent { $0.steps &+= 1 } }
      try storages.use(as: handlersOwner)
      try storages.third.removeValue(of: .thread(.current))
      _ = try storages.second.value(of: .thread(.current))
    }
    // A signal that was already sent is handled while the thread is still attached.
    target.set(nil)
  }
  let sender = try TestThread {
    isAttached.wait()
    while !clock.isOver {
      let before = signalCount.load(ordering: .acquiring)
      target.get()?.interrupt(with: SIGUSR1)
      // One signal at a time, so that the thread makes progress between them.
      while signalCount.load(ordering: .acquiring) == before, !clock.isOver { sched_yield() }
    }
    isOver.set(true)
  }
  try sender.join()
  try thread.join()
  interrupted = nil
  let wrong = wrongCount.load(ordering: .relaxed)
  try expect(wrong == 0, "\(wrong) handlers did not find their thread's value")
  return signalCount.load(ordering: .relaxed)
}

private let handlersOwner: UInt64 = 0x5167
/// Written only while no signal is sent.
private nonisolated(unsafe) var interrupted: TaskLocalStorage<Small>?
private let signalCount = Atomic(0)
private let wrongCount = Atomic(0)

private func handleSignal() {
  let error = errno
  if let interrupted {
    let isRight = (try? interrupted.withCurrent { $0.owner == handlersOwner }) == true
    if !isRight { wrongCount.add(1, ordering: .relaxed) }
  }
  signalCount.add(1, ordering: .releasing)
  errno = error
}

/// A running thread.
struct PThread: @unchecked Sendable {
  private let thread: pthread_t

  init(_ thread: pthread_t) { self.thread = thread }

  func interrupt(with signal: Int32) { pthread_kill(thread, signal) }
}
