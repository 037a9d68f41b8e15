// SPDX-License-Identifier: Apache-2.0
import Glibc
public import MmapStorage
public import SystemPackage

/// The loaded BPF programs of costs-programs.bpf.c.
///
/// They run until the object is released or ``detach()`` is called.
public final class CostsProgram: Sendable {
  let object: BPFObject
  /// The figures that are not counted on this kernel, with one sentence for each.
  public let missing: [String]
  private let frequency: Int
  private let hooks: TracepointHooks
  private let left: Set<String>

  /// Loads the programs and attaches them.
  ///
  /// - Parameters:
  ///   - frequency: Samples per second and processor.
  ///   - without: Programs to omit, for tests.
  /// - Throws: `BPFError`.
  public convenience init(frequency: Int = 997, without: Set<String> = []) throws(BPFError) {
    try self.init(TracepointHooks.best, frequency: frequency, without: without)
  }

  package init(
    _ preferred: TracepointHooks,
    frequency: Int = 997,
    without: Set<String> = []
  ) throws(BPFError) {
    var hooks = preferred
    var left = without
    var reasons: [String: String] = [:]
    do throws(BPFError) {
      object = try Self.start(hooks, frequency: frequency, leavingOut: &left, &reasons)
    } catch  where hooks == .events {
      hooks = .raw
      left = without.union([OptionalProgram.events.name])
      reasons = [OptionalProgram.events.name: "\(error)"]
      object = try Self.start(hooks, frequency: frequency, leavingOut: &left, &reasons)
    }
    self.frequency = frequency
    self.hooks = hooks
    self.left = left
    missing = left.sorted().map { name in
      (OptionalProgram(name: name)?.consequence ?? "\(name) is left out")
        + (reasons[name].map { ": \($0)" } ?? "")
    }
  }

  private static func start(
    _ hooks: TracepointHooks,
    frequency: Int,
    leavingOut left: inout Set<String>,
    _ reasons: inout [String: String]
  ) throws(BPFError) -> BPFObject {
    let object = try load(hooks, leavingOut: &left, &reasons)
    try attach(object, hooks, frequency: frequency, leavingOut: &left, &reasons)
    return object
  }

  private static func attach(
    _ object: BPFObject,
    _ hooks: TracepointHooks,
    frequency: Int,
    leavingOut left: inout Set<String>,
    _ reasons: inout [String: String]
  ) throws(BPFError) {
    // Invalidates the programs' state of threads.
    let attachments = try object.global("attachments", as: UInt32.self)
    try object.setGlobal("attachments", to: attachments &+ 1)
    for program in object.programNames
    where hooks.use(program) && !controlPrograms.contains(program) {
      let name = hooks.name(of: program)
      guard !left.contains(name), name != OptionalProgram.sample.name else { continue }
      do throws(BPFError) {
        try object.program(program).attach()
      } catch  where OptionalProgram(name: name) != nil {
        left.insert(name)
        reasons[name] = "\(error)"
      }
    }
    guard !left.contains("on_sample") else { return }
    do throws(BPFError) {
      try object.program("on_sample").attach(samplingAt: frequency)
      try object.setGlobal("is_sampling", to: UInt32(1))
    } catch {
      left.insert("on_sample")
      reasons["on_sample"] = "\(error)"
    }
  }

  /// Omits the programs for which this kernel lacks a feature.
  private static func load(
    _ hooks: TracepointHooks,
    leavingOut left: inout Set<String>,
    _ reasons: inout [String: String]
  ) throws(BPFError) -> BPFObject {
    while true {
      let object = try BPFObject(.costsPrograms)
      for program in object.programNames
      where !hooks.use(program) || left.contains(hooks.name(of: program)) {
        try object.program(program).setAutoload(false)
      }
      do throws(BPFError) {
        try object.load()
        return object
      } catch {
        let text = error.object
        guard
          let name = OptionalProgram.allCases.map(\.name)
            .first(where: { !left.contains($0) && text.contains("'\($0)'") })
        else { throw error }
        left.insert(name)
        reasons[name] = error.attempt + ": " + error.advice
      }
    }
  }

  /// Pins the objects that a server needs to use the programs.
  ///
  /// - Parameter directory: A directory on a BPF file system. A process that may open the pins may read and
  ///   change the costs of all servers that use them, and have its own process counted. A process that may write
  ///   those of ``readOnlyPins(in:)`` may have any process counted.
  /// - Throws: `BPFError`. Nothing is pinned then.
  public func pin(in directory: FilePath) throws(BPFError) {
    try updateState()
    var pinned: [FilePath] = []
    do throws(BPFError) {
      for name in Self.pinnedMaps {
        let pin = directory.appending(name)
        try object.map(name).pin(at: pin)
        pinned.append(pin)
      }
      let pin = directory.appending(ProcessControl.name)
      try object.program(ProcessControl.name).loaded().pin(at: pin)
      pinned.append(pin)
      try object.pinSwiftTaskStorage("requests", in: directory)
    } catch {
      for pin in pinned { unlink(pin.string) }
      throw error
    }
  }

  /// Publishes to the servers the omitted programs, and the number of events that were not counted
  /// so far. Frees the slots of killed servers, because servers in containers cannot.
  ///
  /// - Throws: `BPFError`.
  public func updateState() throws(BPFError) {
    let state = LoaderState(
      leftOut: Set(left.compactMap { OptionalProgram(name: $0) }),
      missedRuns: missedRuns
    )
    try BPFArrayMap<LoaderState>(object.map("loader")).setValue(state, at: 0)
    // The next call tries again.
    try? object.freeSlotsOfExitedProcesses(ofSwiftTaskStorage: "requests")
  }

  /// Programs that a process runs to register itself.
  private static let controlPrograms = ["requests_control", ProcessControl.name]
  private static let readOnlyMaps = ["processes", "loader"]
  private static let pinnedMaps = readOnlyMaps + ["read_calls"]

  /// The pins that ``pin(in:)`` creates.
  public static func pins(in directory: FilePath) -> [FilePath] {
    (pinnedMaps + ["requests"] + controlPrograms).map { directory.appending($0) }
  }

  /// Whether these pins exist, possibly incomplete. Costs one system call if there are none.
  static func isPinned(in directory: FilePath) -> Bool {
    pins(in: directory).allSatisfy { access($0.string, F_OK) == 0 }
  }

  /// The pins that servers only read.
  public static func readOnlyPins(in directory: FilePath) -> [FilePath] {
    readOnlyMaps.map { directory.appending($0) }
  }

  /// Runs of programs that the kernel skipped (`recursion_misses`): events that are not counted.
  public var missedRuns: UInt64 {
    object.attachedPrograms.reduce(0) { sum, name in
      sum + ((try? object.program(name).loaded().recursionMisses()) ?? 0)
    }
  }

  /// Detaches the programs.
  public func detach() { object.detach() }

  /// Attaches the programs again after ``detach()``. Counting resumes with the next system call of
  /// each thread. Events in between are not counted.
  ///
  /// - Throws: `BPFError`.
  public func attach() throws(BPFError) {
    var left = left
    var reasons: [String: String] = [:]
    try Self.attach(object, hooks, frequency: frequency, leavingOut: &left, &reasons)
  }
}
