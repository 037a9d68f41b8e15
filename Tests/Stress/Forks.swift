// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import TestSupport

/// Forks while threads attach, use and leave storages. Each child has its own values and can use
/// all storages of its parent.
func forks(_ backend: StressedBackend, _ clock: Deadline) throws -> Int {
  let storages = try backend.makeStorages()
  // The Swift runtime creates a type's metadata at first use, with a lock held that is not released
  // in a child. So everything is used once before the first fork.
  let use = {
    try storages.use(as: 2)
    try TestThread { try storages.use(as: 3) }.join()
    try storages.makeAnother().withCurrent { $0.steps = 1 }
  }
  try use()
  return try whileThreadsComeAndGo(storages) {
    var count = 0
    while !clock.isOver {
      try storages.use(as: 1)
      try inChild {
        let owner = try storages.first.withCurrent { $0.owner }
        try expect(owner == (backend.isLive ? 0 : owner), "the child has no value of its parent's")
        try use()
      }
      try expect(storages.first.withCurrent { $0.owner } == 1, "the parent has its value still")
      count += 1
    }
    return count
  }
}

/// Starts programs while threads start and end: a new program has none of the library's
/// descriptors.
func execs(_ backend: StressedBackend, _ clock: Deadline) throws -> Int {
  let storages = try backend.makeStorages()
  try storages.use(as: 1)
  return try whileThreadsComeAndGo(storages) {
    var count = 0
    while !clock.isOver {
      let status = try run("/proc/self/exe", "--list-descriptors", isRaw: count % 2 == 1)
      try expect(status == 0, "the new program has inherited a descriptor (status \(status))")
      try storages.use(as: UInt64(count))
      count += 1
    }
    return count
  }
}

/// The kinds of the descriptors that this program has inherited, besides the standard ones.
func inheritedDescriptors() -> [String] {
  (3..<1024).compactMap { descriptor in
    var target = [CChar](repeating: 0, count: 128)
    let length = readlink("/proc/self/fd/\(descriptor)", &target, target.count)
    guard length > 0 else { return nil }
    return String(decoding: target[..<length].map(UInt8.init(bitPattern:)), as: UTF8.self)
  }.filter { $0.contains("bpf") || $0.contains("pidfd") }
}

private func whileThreadsComeAndGo<Result>(
  _ storages: Storages,
  _ body: () throws -> Result
) throws -> Result {
  let isOver = Box(false)
  let threads = try (0..<4).map { number in
    try TestThread {
      while !isOver.get() { try TestThread { try storages.use(as: UInt64(number)) }.join() }
    }
  }
  defer { isOver.set(true) }
  let result = try body()
  isOver.set(true)
  for thread in threads { try thread.join() }
  return result
}

private func inChild(_ body: () throws -> Void) throws {
  let child = test_fork()
  try expect(child >= 0, "fork: errno \(-child)")
  guard child > 0 else {
    do {
      try body()
      _exit(0)
    } catch {
      writeError("in the child: \(error)")
      _exit(1)
    }
  }
  let status = waitFor(child)
  try expect(status == 0, "the child ends with status \(status)")
}

/// Runs a program, in a child of `posix_spawn`, or of the system call `clone`, which runs no fork
/// handlers.
private func run(_ program: String, _ argument: String, isRaw: Bool) throws -> Int32 {
  let arguments = [strdup(program), strdup(argument)]
  defer { for argument in arguments { free(argument) } }
  var child: pid_t = 0
  if isRaw {
    child = test_clone_and_exec(program, arguments + [nil])
    try expect(child > 0, "clone: errno \(-child)")
  } else {
    let error = posix_spawn(&child, program, nil, nil, arguments + [nil], environ)
    try expect(error == 0, "posix_spawn: errno \(error)")
  }
  return waitFor(child)
}

private func waitFor(_ child: pid_t) -> Int32 {
  var status: Int32 = 0
  while waitpid(child, &status, 0) == -1, errno == EINTR {}
  return status
}
