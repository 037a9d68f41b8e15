// SPDX-License-Identifier: Apache-2.0
import CSwiftTaskCosts
import Glibc
import MmapStorage

/// `struct request` of gets.bpf.c.
typealias Request = Gets.Request

enum Locals {
  @TaskLocal static var number = 0
  @TaskLocal static var other = 0
}

actor Counter {
  var count = 0
  func add() { count += 1 }
}

/// The costs of storage of Swift tasks, each against its baseline, in turns. Prints samples for
/// Benchmarks/report.
@main struct SwiftTaskCosts {
  static let rounds = 21

  /// Not asynchronous, because valgrind cannot run the wait of the main thread of an asynchronous
  /// main.
  static func main() {
    Task.detached {
      do {
        if CommandLine.arguments.count > 1 {
          try await count(CommandLine.arguments[1])
        } else {
          try await measure()
        }
        exit(0)
      } catch let error as BPFError where error.kind == .permissionDenied {
        print("left out: storage of Swift tasks: \(error)")
        exit(0)
      } catch {
        print("error: \(error)")
        exit(1)
      }
    }
    while true { pause() }
  }

  static func measure() async throws {
    var opened = try Gets.open()
    opened.globals.expectedTGID = UInt64(getpid())
    let program = try opened.load(attaching: false)
    let object = program.object
    let requests = try await program.maps.requests.open()
    await hops(requests)
    await scopes(requests)
    fields(requests)
    await gets(requests)
    try await counts(requests, object)
  }

  // MARK: Rows

  static func hops(_ requests: SwiftTaskStorage<Request>) async {
    let counter = Counter()
    await row(
      "hop, Task.yield()",
      "in a scope",
      "outside",
      100_000,
      { n in await requests.withValue({ $0.id = 1 }) { await yields(n) } },
      { n in await yields(n) }
    )
    await row(
      "hop, call of an actor",
      "in a scope",
      "outside",
      100_000,
      { n in await requests.withValue({ $0.id = 1 }) { await calls(n, counter) } },
      { n in await calls(n, counter) }
    )
  }

  @concurrent static func yields(_ n: Int) async {
    for _ in 0..<n { await Task.yield() }
  }

  @concurrent static func calls(_ n: Int, _ counter: Counter) async {
    for _ in 0..<n { await counter.add() }
  }

  static func scopes(_ requests: SwiftTaskStorage<Request>) async {
    await row(
      "enter and leave",
      "withValue",
      "TaskLocal<Int>.withValue",
      200_000,
      { n in await asynchronous(n, requests) },
      { n in await asynchronousLocals(n) }
    )
    await row(
      "enter and leave, synchronous",
      "withValue",
      "TaskLocal<Int>.withValue",
      200_000,
      { n in synchronous(n, requests) },
      { n in synchronousLocals(n) }
    )
  }

  static func asynchronous(_ n: Int, _ requests: SwiftTaskStorage<Request>) async {
    for i in 0..<n { await requests.withValue({ $0.id = UInt64(i) }) { await nothing() } }
  }

  static func asynchronousLocals(_ n: Int) async {
    for i in 0..<n { await Locals.$number.withValue(i) { await nothing() } }
  }

  static func synchronous(_ n: Int, _ requests: SwiftTaskStorage<Request>) {
    for i in 0..<n { requests.withValue({ $0.id = UInt64(i) }) { touch() } }
  }

  static func synchronousLocals(_ n: Int) {
    for i in 0..<n { Locals.$number.withValue(i) { touch() } }
  }

  @inline(never) static func nothing() async {}
  @inline(never) static func touch() {}

  static func fields(_ requests: SwiftTaskStorage<Request>) {
    requests.withValue({ $0.id = 1 }) {
      requests.withCurrent { request in
        let n = 1_000_000
        let pointer = UnsafeMutablePointer<UInt64>.allocate(capacity: 8)
        pointer.initialize(repeating: 0, count: 8)
        for _ in 0..<rounds {
          let ours = time { for _ in 0..<n { request.count += 1 } } / Double(n)
          let theirs = time { costs_add(pointer, UInt64(n)) } / Double(n)
          report("load and store of a field", "view", "C pointer", ours, theirs)
        }
        pointer.deallocate()
      }
    }
  }

  static func gets(_ requests: SwiftTaskStorage<Request>) async {
    let follow = costs_find_program("measure_swift_task")
    let thread = costs_find_program("measure_thread")
    let nothing = costs_find_program("measure_nothing")
    for others in [0, 1, 5, 20] {
      await requests.withValue({ $0.id = 1 }) {
        await bind(others) {
          let what = "\(others) other task-locals inside"
          compareGets(what, follow, thread, nothing)
          if others == 0 {
            async let child: Void = compareGets("in a child task", follow, thread, nothing)
            await child
          }
        }
      }
    }
    compareGets("outside of any scope", follow, thread, nothing)
  }

  static func compareGets(_ name: String, _ follow: CInt, _ thread: CInt, _ nothing: CInt) {
    let n: UInt64 = 1_000
    // Short runs in elapsed time: most are not interrupted.
    func once(_ program: CInt) -> Double {
      Double((0..<101).map { _ in costs_run(program, n) }.sorted()[50]) / Double(n)
    }
    // Half of the time of a get of a thread, so that its own noise is not in each sample.
    let loop = (0..<rounds).map { _ in once(nothing) }.sorted()[rounds / 2]
    for _ in 0..<rounds {
      let ours = once(follow) - loop
      let theirs = once(thread) - loop
      report(
        "get by a program, \(name)",
        "swift_task_storage_get",
        "bpf_task_storage_get",
        ours,
        theirs
      )
    }
  }

  static func bind(_ count: Int, _ body: () async -> Void) async {
    if count == 0 { return await body() }
    await Locals.$other.withValue(count) { await bind(count - 1, body) }
  }

  static func counts(_ requests: SwiftTaskStorage<Request>, _ object: BPFObject) async throws {
    let n = 100_000
    try object.program("count_syscalls").attach()
    for i in 0..<1_000 { await requests.withValue({ $0.id = UInt64(i) }) { await nothing() } }
    let before = try (costs_allocations(), object.global("syscalls", as: UInt64.self))
    for i in 0..<n { await requests.withValue({ $0.id = UInt64(i) }) { await nothing() } }
    let after = try (costs_allocations(), object.global("syscalls", as: UInt64.self))
    object.detach()
    report(
      "allocations of a scope",
      "withValue",
      "none",
      Double(after.0 - before.0) / Double(n),
      0,
      unit: "allocations"
    )
    report(
      "system calls of a scope",
      "withValue",
      "none",
      Double(after.1 - before.1) / Double(n),
      0,
      unit: "system calls"
    )
  }

  // MARK: Measuring

  static func row(
    _ name: String,
    _ what: String,
    _ against: String,
    _ n: Int,
    _ ours: (Int) async -> Void,
    _ theirs: (Int) async -> Void
  ) async {
    for _ in 0..<rounds {
      let ourTime = await time { await ours(n) } / Double(n)
      let theirTime = await time { await theirs(n) } / Double(n)
      report(name, what, against, ourTime, theirTime)
    }
  }

  /// Prints a sample.
  static func report(
    _ name: String,
    _ what: String,
    _ against: String,
    _ ours: Double,
    _ theirs: Double,
    unit: String = "ns"
  ) {
    print("swift tasks: \(name) (\(what) | \(against))", unit, ours, theirs, separator: "\t")
  }

  static func time(_ body: () -> Void) -> Double {
    let start = costs_now()
    body()
    return Double(costs_now() - start)
  }

  static func time(_ body: () async -> Void) async -> Double {
    let start = costs_now()
    await body()
    return Double(costs_now() - start)
  }
}
