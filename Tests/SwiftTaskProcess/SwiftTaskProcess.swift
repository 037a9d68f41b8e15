// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Dispatch
import Glibc
import MmapStorage
import Synchronization
import SystemPackage
import TestSupport

/// `struct request` of requests.bpf.c.
struct Request: MapValue {
  var id: UInt64
  var calls: UInt64
  var kind: UInt32
  var flags: UInt32
}

/// Another process that uses a storage that the tests pinned:
///
///     swift-task-process DIRECTORY STORAGE serve ROW FIRST-ID ROUNDS MAGIC
///     swift-task-process DIRECTORY STORAGE hold FIRST-ID COUNT
///     swift-task-process DIRECTORY STORAGE exec ROW FIRST-ID ROUNDS MAGIC
///     swift-task-process DIRECTORY STORAGE exec-elsewhere ROW FIRST-ID ROUNDS MAGIC
///     swift-task-process DIRECTORY STORAGE restart COUNT
///     swift-task-process DIRECTORY STORAGE exec-false-binding ROW ID MAGIC
///
/// The first makes calls from 16 concurrent requests. The second enters the given number of scopes,
/// prints a line, and stays in them until its input ends. The third makes a call in a scope of the
/// first thread, stores its token, and executes itself there. The new program uses the token, makes the
/// given number of calls of the next row without a storage, and then serves the row after it. The fourth
/// does so on another thread, which then becomes the first one. The fifth enters a scope and executes
/// itself there, as often as it says. The sixth registers a false binding for its slot, makes a call, and
/// executes itself. The new program makes the same binding and a call of the next row.
@main struct SwiftTaskProcess {
  @TaskLocal static var other = 0
  /// A server keeps its storage until it exits.
  static let kept = Mutex<SwiftTaskStorage<Request>?>(nil)
  static let job = Mutex<(@Sendable () -> Void)?>(nil)
  static let hasJob = DispatchSemaphore(value: 0)

  /// Runs a job on the first thread, which an asynchronous `main()` would end.
  static func main() throws {
    // The registration is that of the first thread.
    if CommandLine.arguments[3].hasSuffix("-false-binding") { return try useFalseBinding() }
    Task.detached {
      do {
        try await run()
      } catch {
        print("\(error)")
        exit(1)
      }
      exit(0)
    }
    hasJob.wait()
    job.withLock { $0 }?()
    exit(3)
  }

  static func run() async throws {
    let arguments = CommandLine.arguments
    let numbers = arguments.dropFirst(4).compactMap { UInt64($0) }
    if arguments[3] == "executed" {
      test_call(0, 0, UInt(numbers[3]) + 4)
      await $other.withValue(1) {
        for _ in 0..<numbers[2] {
          test_call(UInt(numbers[1]), UInt(numbers[0]) + 1, UInt(numbers[3]))
          await Task.yield()
        }
      }
    }
    let requests = try await SwiftTaskStorage<Request>(
      pinnedIn: FilePath(arguments[1]),
      name: arguments[2]
    )
    kept.withLock { $0 = requests }
    switch (arguments[3], numbers.count) {
    case ("exec", 4), ("exec-elsewhere", 4):
      let execute: @Sendable () -> Void = {
        requests.withValue({ $0.id = numbers[1] }) {
          test_call(UInt(numbers[1]), UInt(numbers[0]), UInt(numbers[3]))
          test_call(0, 0, UInt(numbers[3]) + 3)
          Self.execute(Array(arguments[0...2]) + ["executed"] + arguments[4...])
        }
      }
      guard arguments[3] == "exec" else { return execute() }
      job.withLock { $0 = execute }
      hasJob.signal()
      while true { pause() }
    case ("restart", 1):
      requests.withValue({ $0.id = 1 }) {
        guard requests.overflowCount == 0 else { exit(4) }
        guard numbers[0] > 0 else { return }
        execute(arguments[0...3] + ["\(numbers[0] - 1)"])
        exit(3)
      }
    case ("serve", 4), ("executed", 4):
      await serve(
        requests,
        row: UInt(numbers[0]) + (arguments[3] == "serve" ? 0 : 2),
        numbers[1],
        rounds: numbers[2],
        magic: UInt(numbers[3])
      )
    case ("hold", 2): await hold(requests, numbers[0], count: numbers[1])
    default: exit(2)
    }
    print("without a slot: \(requests.overflowCount)")
  }

  /// The words of the thread: the current Swift task, its scopes, and a binding.
  static func useFalseBinding() throws {
    let arguments = CommandLine.arguments
    let numbers = arguments.dropFirst(4).compactMap { UInt64($0) }
    guard let words = test_thread_words() else { exit(4) }
    let key: UInt = 0x1234_5678_9abc_def0
    let tag: UInt = 7 << 24
    words[0] = 0
    words[1] = UInt(bitPattern: words + 2)
    words[2] = 0
    words[3] = key
    words[5] = tag
    let directory = FilePath(arguments[1])
    if arguments[3] == "exec-false-binding" {
      let control = try BPFProgram(pinnedAt: directory.appending("\(arguments[2])_control"))
      let offset = UInt64(UInt(bitPattern: words) &- test_thread_pointer())
      guard try control.runRaw([3, UInt64(key), offset, offset &+ 8, 0, 24]).get() == 1 else {
        exit(4)
      }
      let descriptor = FileDescriptor(rawValue: control.descriptor)
      let slots = try MappedSlots(BPFMap(pinnedAt: directory.appending(arguments[2])))
      slots[0] = .init(owner: MappedSlots.owner(descriptor), holder: UInt64(tag), id: numbers[1])
    }
    test_call(UInt(numbers[1]), UInt(numbers[0]), UInt(numbers[2]))
    guard arguments[3] == "exec-false-binding" else { return }
    execute(arguments[0...2] + ["executed-false-binding", "\(numbers[0] + 1)"] + arguments[5...])
    exit(3)
  }

  static func execute(_ arguments: some Sequence<String>) {
    let strings = arguments.map { strdup($0) } + [nil]
    execv("/proc/self/exe", strings)
  }

  static func serve(
    _ requests: SwiftTaskStorage<Request>,
    row: UInt,
    _ first: UInt64,
    rounds: UInt64,
    magic: UInt
  ) async {
    await withTaskGroup { group in
      for id in first..<first + 16 {
        group.addTask {
          for _ in 0..<rounds {
            await requests.withValue({ $0.id = id }) {
              for _ in 0..<10 {
                test_call(UInt(id), row, magic)
                await Task.yield()
              }
            }
          }
        }
      }
    }
  }

  static func hold(
    _ requests: SwiftTaskStorage<Request>,
    _ id: UInt64,
    count: UInt64
  ) async {
    guard count > 0 else {
      print("holds")
      fflush(nil)
      while getchar() != EOF {}
      return
    }
    await requests.withValue({ $0.id = id }) { await hold(requests, id + 1, count: count - 1) }
  }
}
