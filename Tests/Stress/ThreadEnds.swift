// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import TestSupport

/// Threads are cancelled anywhere: each ends, and leaves no lock held.
func cancellations(_ backend: StressedBackend, _ clock: Deadline) throws -> Int {
  let storages = try backend.makeStorages()
  var count = 0
  while !clock.isOver {
    let hasStarted = Gate()
    let thread = try TestThread {
      hasStarted.open()
      // Cancelled between the calls, because the library has no cancellation point.
      while true {
        try storages.use(as: 1)
        try storages.second.removeValue(of: .thread(.current))
        _ = try storages.third.value(of: .thread(.current))
        pthread_testcancel()
      }
    }
    hasStarted.wait()
    for _ in 0..<count % 64 { sched_yield() }
    thread.cancel()
    try thread.join()
    try storages.use(as: 2)
    count += 1
  }
  return count
}

/// Threads end in each way, with destructors that use storages before and after the library's own,
/// in all rounds of destructors except the last, in which a thread can no longer attach.
func threadEnds(_ backend: StressedBackend, _ clock: Deadline) throws -> Int {
  let storages = try backend.makeStorages()
  ending.storages = storages
  ending.failures.set(0)
  let error = pthread_key_create(&ending.key) { round in endThread(round) }
  try expect(error == 0, "pthread_key_create: errno \(error)")
  defer {
    pthread_key_delete(ending.key)
    ending.storages = nil
  }
  var count = 0
  while !clock.isOver {
    let number = count
    try TestThread {
      let rounds = 1 + number % (Int(PTHREAD_DESTRUCTOR_ITERATIONS) - Sanitizer.lastRounds)
      pthread_setspecific(ending.key, UnsafeRawPointer(bitPattern: rounds))
      if number % 3 > 0 { try storages.use(as: UInt64(number)) }
      switch number % 5 {
      case 0 where Sanitizer.toleratesUnwinding: pthread_exit(nil)
      case 1 where Sanitizer.toleratesExitCalls: test_exit_thread()
      default: break
      }
    }.join()
    count += 1
  }
  let failures = ending.failures.get()
  try expect(failures == 0, "\(failures) destructors could not use the storages")
  return count
}

/// The data of destructors, which are C functions.
private enum ending {
  nonisolated(unsafe) static var storages: Storages?
  nonisolated(unsafe) static var key = pthread_key_t()
  static let failures = Box(0)
}

private func endThread(_ rounds: UnsafeMutableRawPointer?) {
  do {
    try ending.storages?.use(as: 4)
  } catch {
    if ending.failures.get() == 0 { writeError("in a destructor: \(error)") }
    ending.failures.change { $0 += 1 }
  }
  let left = Int(bitPattern: rounds) - 1
  if left > 0 { pthread_setspecific(ending.key, UnsafeRawPointer(bitPattern: left)) }
}
