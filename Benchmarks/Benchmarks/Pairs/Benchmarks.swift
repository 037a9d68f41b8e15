import Benchmark
import CBaselines
import Glibc
import MmapStorage
import MmapStorageTesting

let benchmarks: @Sendable () -> Void = {
  do {
    try access()
    try lookups()
    try attaching()
    try opening()
    try counting()
    try crowds()
  } catch {
    // Without its benchmarks a run would be taken for a complete one.
    print("error: \(error)")
    exit(1)
  }
}

/// A direct storage: the kernel's where it has one, else memory of the process.
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
  // The harness runs all benchmarks on one thread, but not on the one that registers them.
  func enter() { baseline_enter(page) }

  compare(
    Pair(
      name: "access: read a field (\(kind) | thread-local pointer)",
      ours: { count in
        blackHole(
          try storage.withCurrent { view in
            var sum: UInt64 = 0
            for _ in 0..<count { sum &+= view.b }
            return sum
          }
        )
      },
      baseline: {
        enter(); blackHole(baseline_read_field($0))
      }
    )
  )
  compare(
    Pair(
      name: "access: write a field (\(kind) | thread-local pointer)",
      ours: { count in
        try storage.withCurrent { view in for i in 0..<count { view.b = UInt64(i) } }
      },
      baseline: {
        enter(); blackHole(baseline_write_field($0))
      }
    )
  )
  compare(
    Pair(
      name: "access: eight mixed fields (\(kind) | thread-local pointer)",
      ours: { count in
        try storage.withCurrent { view in
          for _ in 0..<count {
            view.a = view.b &+ UInt64(view.c)
            view.d = view.c &+ 1
            view.f = view.e
            view.h = view.g
          }
        }
      },
      baseline: {
        enter(); blackHole(baseline_mixed_fields($0))
      }
    )
  )
  compare(
    Pair(
      name: "access: copy 64 bytes (\(kind) | thread-local pointer)",
      ours: { count in
        blackHole(
          try storage.withCurrent { view in
            var sum: UInt64 = 0
            for _ in 0..<count {
              let copy = view.copyValue()
              withUnsafePointer(to: copy) { baseline_look_at($0) }
              sum &+= copy.b
            }
            return sum
          }
        )
      },
      baseline: {
        enter(); blackHole(baseline_copy($0))
      }
    )
  )
  compare(
    Pair(
      name: "access: atomic add (\(kind) | thread-local pointer)",
      ours: { count in
        try storage.withCurrent { view in
          for _ in 0..<count { view.atomic(\.b).wrappingAdd(1) }
        }
      },
      baseline: {
        enter(); blackHole(baseline_add($0))
      }
    )
  )

  let enterAndRead: (Int) throws -> Void = { count in
    var sum: UInt64 = 0
    for _ in 0..<count {
      sum &+= try storage.withCurrent { $0.b }
      baseline_forget_memory()  // as the baselines do: each turn is an entry of its own
    }
    blackHole(sum)
  }
  compare(
    Pair(
      name: "entry: enter and read (\(kind) | thread-local pointer and a check)",
      ours: enterAndRead,
      baseline: {
        enter(); blackHole(baseline_enter_and_read($0))
      }
    )
  )
  baseline_prepare_keys()
  compare(
    Pair(
      name: "entry: enter and read (\(kind) | by key, as the kernel's helper)",
      ours: enterAndRead,
      baseline: {
        enter(); blackHole(baseline_enter_by_key($0))
      }
    )
  )

  guard let object = try loadValues(for: .lookup) else { return }
  let map = try object.map("theirs")
  let theirs = try TaskLocalStorage<Counters>(backend: LookupBackend(map, road: .pidfd))
  compare(
    Pair(
      name: "system call: enter and read (\(kind) | bpf_map_lookup_elem)",
      ours: enterAndRead,
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
  let prepare = try TaskLocalStorage<Counters>(backend: LookupBackend(theirs, road: .pidfd))
  for road in [LookupBackend.Road.program, .pidfd] {
    let storage = try TaskLocalStorage<Counters>(backend: LookupBackend(map, road: road))
    compare(
      Pair(
        name: "lookup: read only (by \(road) | bpf_map_lookup_elem)",
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
        name: "lookup: one write (by \(road) | bpf_map_lookup_elem, bpf_map_update_elem)",
        ours: { count in
          for _ in 0..<count { try storage.withCurrent { $0.b &+= 1 } }
        },
        baseline: { count in
          try check(baseline_lookup_and_update(number(of: theirs), baseline_own_pidfd(), count))
        },
        batch: 1_000
      )
    )
  }
}
