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

/// The costs of storage of Swift tasks, each beside what it is measured against, in turns.
@main struct SwiftTaskCosts {
  static let rounds = 21

  /// Not asynchronous: the thread of such a main sleeps in a way that valgrind cannot run.
  static func main() {
    Task.detached {
      do {
        if CommandLine.arguments.count > 1 {
          try await count(CommandLine.arguments[1])
        } else {
          try await measure()
        }
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
    print("| what | ns | against | ns | ratio |")
    print("|---|---|---|---|---|")
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
      "`Task.yield()` in a scope",
      "outside",
      100_000,
      { n in await requests.withValue({ $0.id = 1 }) { await yields(n) } },
      { n in await yields(n) }
    )
    await row(
      "call of an actor in a scope",
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
      "`withValue`, entered and left",
      "`TaskLocal<Int>.withValue`",
      200_000,
      { n in await asynchronous(n, requests) },
      { n in await asynchronousLocals(n) }
    )
    await row(
      "the same, synchronous",
      "`TaskLocal<Int>.withValue`",
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
        var ours: [Double] = []
        var theirs: [Double] = []
        for _ in 0..<rounds {
          ours.append(time { for _ in 0..<n { request.count += 1 } } / Double(n))
          theirs.append(time { costs_add(pointer, UInt64(n)) } / Double(n))
        }
        pointer.deallocate()
        report("a field's load and store by a view", "by a C pointer", ours, theirs)
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
          compareGets("`swift_task_storage_get`, \(others) others bound", follow, thread, nothing)
        }
      }
    }
    compareGets("the same outside of any scope", follow, thread, nothing)
  }

  static func compareGets(_ name: String, _ follow: CInt, _ thread: CInt, _ nothing: CInt) {
    let n: UInt64 = 100_000
    var ours: [Double] = []
    var theirs: [Double] = []
    for _ in 0..<rounds {
      let loop = Double(costs_run(nothing, n))
      ours.append((Double(costs_run(follow, n)) - loop) / Double(n))
      theirs.append((Double(costs_run(thread, n)) - loop) / Double(n))
    }
    report(name, "`bpf_task_storage_get`", ours, theirs)
  }

  static func bind(_ count: Int, _ body: () async -> Void) async {
    if count == 0 { return await body() }
    await Locals.$other.withValue(count) { await bind(count - 1, body) }
  }

  static func counts(_ requests: SwiftTaskStorage<Request>, _ object: BPFObject) async throws {
    let n = 100_000
    try object.attach(program: "count_syscalls")
    for i in 0..<1_000 { await requests.withValue({ $0.id = UInt64(i) }) { await nothing() } }
    let before = try (costs_allocations(), object.global("syscalls", as: UInt64.self))
    for i in 0..<n { await requests.withValue({ $0.id = UInt64(i) }) { await nothing() } }
    let after = try (costs_allocations(), object.global("syscalls", as: UInt64.self))
    object.detach()
    print(
      "\n\(n) scopes: \(Double(after.0 - before.0) / Double(n)) allocations each, "
        + "\(after.1 - before.1) system calls in all"
    )
  }

  // MARK: Measuring

  static func row(
    _ name: String,
    _ against: String,
    _ n: Int,
    _ ours: (Int) async -> Void,
    _ theirs: (Int) async -> Void
  ) async {
    var ourTimes: [Double] = []
    var theirTimes: [Double] = []
    for _ in 0..<rounds {
      ourTimes.append(await time { await ours(n) } / Double(n))
      theirTimes.append(await time { await theirs(n) } / Double(n))
    }
    report(name, against, ourTimes, theirTimes)
  }

  static func report(_ name: String, _ against: String, _ ours: [Double], _ theirs: [Double]) {
    let ratios = zip(ours, theirs).map { $0 / $1 }.sorted()
    func middle(_ numbers: [Double]) -> Double { numbers.sorted()[numbers.count / 2] }
    func text(_ number: Double) -> String {
      let hundredths = Int((number * 100).rounded())
      let rest = abs(hundredths) % 100
      return "\(hundredths / 100).\(rest < 10 ? "0" : "")\(rest)"
    }
    print(
      "| \(name) | \(text(middle(ours))) | \(against) | \(text(middle(theirs))) | "
        + "\(text(middle(ratios))) (\(text(ratios[ratios.count / 4])) to "
        + "\(text(ratios[ratios.count * 3 / 4]))) |"
    )
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
