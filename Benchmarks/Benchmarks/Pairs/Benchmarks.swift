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
  } catch {
    print("\(error)")
  }
}

/// A direct storage: the kernel's where it has one, else memory of the process.
private func directStorage() throws -> TaskLocalStorage<Counters> {
  for kind in [BackendKind.mapped, .userPage] {
    if let object = try? loadValues(for: kind),
      let storage = try? TaskLocalStorage<Counters>(map: object.map("values"))
    {
      return storage
    }
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

  guard let object = try? loadValues(for: .lookup) else { return }
  let map = try object.map("theirs")
  let theirs = try TaskLocalStorage<Counters>(backend: LookupBackend(map, road: .pidfd))
  compare(
    Pair(
      name: "system call: enter and read (\(kind) | bpf_map_lookup_elem)",
      ours: enterAndRead,
      baseline: { count in
        try theirs.withCurrent { $0.b = 1 }
        try check(Int(baseline_lookup(number(of: map), baseline_own_pidfd(), count)))
      },
      batch: 2_000
    )
  )
}

private func lookups() throws {
  guard let object = try? loadValues(for: .lookup) else { return }
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
          try check(Int(baseline_lookup(number(of: theirs), baseline_own_pidfd(), count)))
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
          try check(
            Int(baseline_lookup_and_update(number(of: theirs), baseline_own_pidfd(), count))
          )
        },
        batch: 1_000
      )
    )
  }
}

private func attaching() throws {
  guard let object = try? loadValues(for: .userPage), let map = try? object.map("values"),
    let backend = try? UserPageBackend(map)
  else { return }
  let theirs = try object.map("theirs")
  compare(
    Pair(
      name: "attach and detach (userPage | the same system calls)",
      ours: { count in
        for _ in 0..<count { backend.detach(try backend.attach(), because: .threadEnds) }
      },
      baseline: { count in
        let map = try number(of: theirs)
        for _ in 0..<count {
          guard let page = baseline_attach(map) else { throw Failed(errno: 0) }
          baseline_detach(map, page)
        }
      },
      batch: 200
    )
  )
}

private struct Eight: MapValue {
  var a: UInt64, b: UInt64, c: UInt32, d: UInt32, e: UInt16, f: UInt16, g: UInt16, h: UInt16
}

private struct SixtyFour: MapValue {
  var a: Eight, b: Eight, c: Eight, d: Eight, e: Eight, f: Eight, g: Eight, h: Eight
}

private struct FiveHundredTwelve: MapValue {
  var a: SixtyFour, b: SixtyFour, c: SixtyFour, d: SixtyFour
  var e: SixtyFour, f: SixtyFour, g: SixtyFour, h: SixtyFour
}

private func opening() throws {
  func layout<Value: MapField>(of type: Value.Type, fields: Int) throws {
    let fake = try FakeBackend(layoutOf: type)
    compare(
      Pair(
        name: "open: layout check of \(fields) fields (in all | opening the object with libbpf)",
        ours: { count in
          for _ in 0..<count { blackHole(try TaskLocalStorage<Value>(backend: fake)) }
        },
        baseline: { count in for _ in 0..<count { blackHole(try BPFObject(.values, allowing: [])) }
        },
        batch: 10
      )
    )
  }
  try layout(of: Eight.self, fields: 8)
  try layout(of: SixtyFour.self, fields: 64)
  try layout(of: FiveHundredTwelve.self, fields: 512)
}

private func counting() throws {
  let storage = try directStorage()
  let kind = storage.backend.kind
  let hash = try? loadValues(for: .lookup).map("by_thread")
  let ways: [(String, counting)] = [
    ("one array, packed", COUNT_PACKED), ("one array, padded", COUNT_PADDED),
    ("one shared atomic", COUNT_SHARED_ATOMIC), ("hash map by system calls", COUNT_HASH),
  ]
  for threads in [1, 2, 4, 16, 64] {
    for (name, way) in ways {
      let map = try hash.map(number) ?? -1
      if way == COUNT_HASH, map < 0 { continue }
      let events = (way == COUNT_HASH ? 5_000 : 10_000_000) / threads
      compare(
        Pair(
          name: "counting, \(threads) threads (\(kind) | \(name))",
          ours: { _ in try count(storage, threads: threads, events: events) },
          baseline: { _ in try check(Int(baseline_count(way, CInt(threads), events, map))) },
          batch: 1
        )
      )
    }
  }
}

private func count(
  _ storage: TaskLocalStorage<Counters>,
  threads: Int,
  events: Int
) throws {
  let context = Counting(storage: storage, events: events)
  var handles = [pthread_t](repeating: pthread_t(), count: threads)
  for index in handles.indices {
    pthread_create(
      &handles[index],
      nil,
      { argument in
        guard let argument else { return nil }
        let context = Unmanaged<Counting>.fromOpaque(argument).takeUnretainedValue()
        try? context.storage.withCurrent { view in
          for _ in 0..<context.events { view.a &+= 1 }
        }
        return nil
      },
      Unmanaged.passUnretained(context).toOpaque()
    )
  }
  for handle in handles { pthread_join(handle, nil) }
  withExtendedLifetime(context) {}
}

private final class Counting: Sendable {
  let storage: TaskLocalStorage<Counters>
  let events: Int
  init(storage: TaskLocalStorage<Counters>, events: Int) {
    self.storage = storage
    self.events = events
  }
}
