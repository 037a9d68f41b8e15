// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

/// The program that SWIFT_TASK_STORAGE() declares for processes to register themselves. It runs on
/// the calling thread, and registers only the process that runs it.
final class SwiftTaskControl: Sendable {
  let program: BPFProgram
  private let object: String

  enum Answer: CustomStringConvertible {
    case none, own, other

    var description: String {
      switch self {
      case .none: "no slot"
      case .own: "the slot with the expected tag"
      case .other: "another slot"
      }
    }
  }

  private enum Operation: UInt64 {
    case ownerHigh = 1
    case ownerLow = 2
    case register = 3
    case unregister = 4
    case check = 5
    case unreadable = 6
  }

  /// The suffix of the program's name, after the storage's name.
  static let suffix = "_control"

  /// The program of the storage that a loaded object's map belongs to.
  init(of object: BPFObject, _ map: BPFMap) throws(BPFError) {
    guard object.programNames.contains(map.name + Self.suffix) else {
      throw notDeclared(map.describedName)
    }
    program = try object.program(map.name + Self.suffix).loaded()
    self.object = map.describedName
  }

  init(_ program: BPFProgram, for object: String) {
    self.program = program
    self.object = object
  }

  /// Checks that the descriptor is a program that uses the storage's map.
  func check(uses map: UInt32) throws(BPFError) {
    let isProgram = descriptorTarget(program.descriptor).map { $0 == "anon_inode:bpf-prog" } ?? true
    let (code, maps) = isProgram ? readProgramMaps(program.descriptor, count: 64) : (0, [])
    guard code < 0 || !maps.contains(map) else { return }
    throw BPFError(
      .wrongType,
      attempt: "use the program of a storage of Swift tasks",
      on: object,
      errno: code < 0 ? Errno(rawValue: -code) : nil,
      advice: "the descriptor is not that of the program that SWIFT_TASK_STORAGE() declares beside "
        + "this map"
    )
  }

  /// The owner word in the slots of the calling process.
  func owner() throws(BPFError) -> UInt64 {
    let attempt = "identify this process"
    let high = try run(.ownerHigh, attempt: attempt)
    let low = try run(.ownerLow, attempt: attempt)
    let owner = UInt64(high) << 32 | UInt64(low)
    guard owner != 0 else { throw unexpected(attempt) }
    return owner
  }

  /// Registers the offsets of the current Swift task in the calling process's runtime.
  func register(_ places: SwiftRuntimePlaces, key: UInt64) throws(BPFError) {
    let attempt = "register the process"
    // bpf_task_storage_get() creates nothing while memory is short, or while another task on this
    // CPU is preempted inside of such a call.
    for round in 0..<100 {
      if round > 10 { usleep(10_000) } else if round > 0 { sched_yield() }
      let answer = try run(
        .register,
        key,
        UInt64(bitPattern: places.taskWord),
        UInt64(bitPattern: mms_thread_scope_offset()),
        UInt64(places.bindings),
        UInt64(places.tag),
        attempt: attempt
      )
      if answer == 1 { return }
    }
    throw BPFError(
      .outOfResources,
      attempt: attempt,
      on: object,
      advice: "the kernel could not allocate memory for it within a second"
    )
  }

  /// Ends the registration.
  func unregister() {
    _ = try? run(.unregister, attempt: "unregister the process")
  }

  /// The result of a program on the calling thread: a slot of the tag, another slot, or none.
  func check(_ tag: UInt64) throws(BPFError) -> Answer {
    let attempt = "query the storage of the current Swift task"
    switch try run(.check, tag, attempt: attempt) {
    case 1: return .none
    case 2: return .own
    case 3: return .other
    default: throw unexpected(attempt)
    }
  }

  /// The number of lookups for which the memory of the calling process could not be read, at most
  /// 2^32 - 1.
  func unreadableCount() throws(BPFError) -> Int {
    Int(try run(.unreadable, attempt: "count what programs could not read"))
  }

  private func run(
    _ operation: Operation,
    _ arguments: UInt64...,
    attempt: String
  ) throws(BPFError) -> UInt32 {
    var words = [operation.rawValue] + arguments
    // The program may read any argument, so the kernel requires all.
    words += Array(repeating: 0, count: 6 - words.count)
    switch program.runRaw(words) {
    case .success(let result): return result
    case .failure(let errno):
      throw BPFError(
        errno: errno,
        attempt: attempt,
        on: object,
        advice: errno == .invalidArgument
          ? "the descriptor is not that of the program that SWIFT_TASK_STORAGE() declares" : nil
      )
    }
  }

  private func unexpected(_ attempt: String) -> BPFError {
    BPFError(
      .wrongType,
      attempt: attempt,
      on: object,
      advice: "its result is invalid; the descriptor is not that of the program that "
        + "SWIFT_TASK_STORAGE() declares, or header and library are of different versions"
    )
  }
}
