// SPDX-License-Identifier: Apache-2.0
import Benchmark
import CBaselines
import Glibc
@_spi(Benchmarks) import MmapStorage
import MmapStorageTesting
import Operations

let benchmarks: @Sendable () -> Void = {
  do {
    try access()
    try lookups()
    try attaching()
    try opening()
    try counting()
    try crowds()
  } catch {
    // Fails, because a run without its benchmarks would look complete.
    print("error: \(error)")
    exit(1)
  }
}

/// A direct storage: in the kernel if it has one, else in the memory of the process.
func directStorage() throws -> TaskLocalStorage<Counters> {
  for kind in [BackendKind.mapped, .userPage] {
    if let object = try loadValues(for: kind) { return try .init(map: object.map("values")) }
  }
  return try TaskLocalStorage(backend: FakeBackend(layoutOf: Counters.self))
}

private func access() throws {
  let storage = try directStorage()
  let kind = storage.backend.kind
  let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
  page.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
  // Entered in each batch, because the harness runs the benchmarks on another thread.
  baseline_prepare_keys()

  for operation in Operation.all {
    compare(
      Pair(
        name: "\(operation.what) (\(kind) | \(operation.against))",
        ours: { blackHole(try operation.ours(storage, $0)) },
        baseline: {
          baseline_enter(page)
          blackHole(operation.baseline($0))
        }
      )
    )
  }

  guard let object = try loadValues(for: .lookup) else { return }
  let map = try object.map("theirs")
  let theirs = try TaskLocalStorage<Counters>(map: map, lookupBy: .pidfd)
  compare(
    Pair(
      name: "system call: enter and read (\(kind) | bpf_map_lookup_elem)",
      ours: { blackHole(try enterAndRead(storage, $0)) },
      baseline: { count in
        try theirs.withCurrent { $0.b = 1 }
        try check(baseline_lookup(number(of: map), baseline_own_pidfd(), count))
      },
      batch: 2_000
    )
  )
}

private func lookups() throws {
  guard let object = try loadValues(for: .lookup) else { return }
  let map = try object.map("values")
  let theirs = try object.map("theirs")
  let prepare = try TaskLocalStorage<Counters>(map: theirs, lookupBy: .pidfd)
  for path in [LookupAccessPath.program, .pidfd] {
    let storage = try TaskLocalStorage<Counters>(map: map, lookupBy: path)
    compare(
      Pair(
        name: "lookup: read only (by \(path) | bpf_map_lookup_elem)",
        ours: { count in
          var sum: UInt64 = 0
          for _ in 0..<count { sum &+= try storage.withCurrent { $0.b } }
          blackHole(sum)
        },
        baseline: { count in
          try prepare.withCurrent { $0.b = 1 }
          try check(baseline_lookup(number(of: theirs), baseline_own_pidfd(), count))
        },
        batch: 2_000
      )
    )
    compare(
      Pair(
        name: "lookup: one write (by \(path) | bpf_map_lookup_elem, bpf_map_update_elem)",
        ours: { count in
          for _ in 0..<count { try storage.withCurrent { $0.b &+= 1 } }
        },
        baseline: { count in
          try prepare.withCurrent { $0.b = 1 }
          try check(baseline_lookup_and_update(number(of: theirs), baseline_own_pidfd(), count))
        },
        batch: 1_000
      )
    )
  }
}
