// SPDX-License-Identifier: Apache-2.0
import CBaselines
import Glibc
import MmapStorage
import Operations

/// Threads that count events: the library against the usual methods. In nanoseconds for each event,
/// including the threads' creation and first touch.
func counting() throws {
  let storage = try directStorage()
  let kind = storage.backend.kind
  let object = try loadValues(for: .lookup)
  let ways = [
    ("one array, packed", COUNT_PACKED), ("one array, padded", COUNT_PADDED),
    ("one shared atomic", COUNT_SHARED_ATOMIC), ("hash map by system calls", COUNT_HASH),
  ]
  for threads in [1, 2, 4, 16, 64] {
    let events = isQuick ? 10_000_000 / threads : 10_000_000
    for (name, way) in ways {
      let map = way == COUNT_HASH ? try object?.map("by_thread") : nil
      if way == COUNT_HASH, map == nil { continue }
      // Fewer rounds, because ten million system calls would take ten seconds.
      let theirEvents = way == COUNT_HASH ? 5_000 : events
      compare(
        "counting, \(threads) threads (\(kind) | \(name))",
        ours: {
          try perEvent(threads * events) { try count(storage, threads: threads, events: events) }
        },
        baseline: {
          let map = try map.map(number) ?? -1
          return try perEvent(threads * theirEvents) {
            try check(baseline_count(way, CInt(threads), theirEvents, map))
          }
        }
      )
    }
  }
}

private func perEvent(_ events: Int, _ body: () throws -> Void) rethrows -> Double {
  try Double(nanoseconds(1) { _ in try body() }) / Double(events)
}

private func count(
  _ storage: TaskLocalStorage<Counters>,
  threads: Int,
  events: Int
) throws {
  let work = Work(storage: storage, events: events)
  var handles: [pthread_t] = []
  var failed = false
  for _ in 0..<threads {
    var handle = pthread_t()
    let error = pthread_create(
      &handle,
      nil,
      { argument in
        argument.flatMap { Unmanaged<Work>.fromOpaque($0).takeUnretainedValue().run() }
      },
      Unmanaged.passUnretained(work).toOpaque()
    )
    if error == 0 { handles.append(handle) } else { failed = true }
  }
  for handle in handles {
    var result: UnsafeMutableRawPointer?
    pthread_join(handle, &result)
    if result != nil { failed = true }
  }
  withExtendedLifetime(work) {}
  if failed { throw Failed(errno: EAGAIN) }
}

private final class Work: Sendable {
  let storage: TaskLocalStorage<Counters>
  let events: Int

  init(storage: TaskLocalStorage<Counters>, events: Int) {
    self.storage = storage
    self.events = events
  }

  /// Not nil if it failed.
  func run() -> UnsafeMutableRawPointer? {
    do {
      try storage.withCurrent { view in
        for _ in 0..<events { view.a &+= 1 }
      }
      return nil
    } catch {
      return Unmanaged.passUnretained(self).toOpaque()
    }
  }
}
