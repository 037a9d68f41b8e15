// SPDX-License-Identifier: Apache-2.0
import Glibc
public import MmapStorage
public import SystemPackage

/// The BPF programs of costs-programs.bpf.c in the kernel.
///
/// They run until the object is released or ``detach()`` is called.
public final class CostsProgram: Sendable {
  let object: BPFObject
  /// What is not counted on this kernel, a sentence each.
  public let missing: [String]
  private let frequency: Int
  private let left: Set<String>

  /// The programs that may be missing, and what is not counted then.
  private static let optional = [
    "on_page_fault": "page faults are not counted",
    "on_sent": "TCP bytes sent are not counted",
    "on_received": "TCP bytes received are not counted",
    "on_wakeup": "waiting for a processor after a wakeup counts as blocked",
    "on_sample":
      "user time is not sampled but credited at system calls and switches, which is less exact",
  ]

  /// Loads the programs and attaches them.
  ///
  /// - Parameters:
  ///   - frequency: Samples per second and processor.
  ///   - without: Programs to leave out, for tests.
  /// - Throws: `BPFError`.
  public init(frequency: Int = 997, without: Set<String> = []) throws(BPFError) {
    var left = without
    var reasons: [String: String] = [:]
    let object = try Self.load(leavingOut: &left, &reasons)
    try Self.attach(object, frequency: frequency, leavingOut: &left, &reasons)
    self.object = object
    self.frequency = frequency
    self.left = left
    missing = left.sorted().map { name in
      (Self.optional[name] ?? "\(name) is left out") + (reasons[name].map { ": \($0)" } ?? "")
    }
  }

  private static func attach(
    _ object: BPFObject,
    frequency: Int,
    leavingOut left: inout Set<String>,
    _ reasons: inout [String: String]
  ) throws(BPFError) {
    for name in object.programNames
    where !left.contains(name) && name != "requests_control" && name != "on_sample" {
      do throws(BPFError) {
        try object.attach(program: name)
      } catch  where optional[name] != nil {
        left.insert(name)
        reasons[name] = "\(error)"
      }
    }
    guard !left.contains("on_sample") else { return }
    do throws(BPFError) {
      try object.attach(program: "on_sample", samplingAt: frequency)
      try object.setGlobal("is_sampling", to: UInt32(1))
    } catch {
      left.insert("on_sample")
      reasons["on_sample"] = "\(error)"
    }
  }

  /// Leaves out what this kernel does not have.
  private static func load(
    leavingOut left: inout Set<String>,
    _ reasons: inout [String: String]
  ) throws(BPFError) -> BPFObject {
    while true {
      let object = try BPFObject(.costsPrograms)
      for name in left { try object.setAutoload(false, program: name) }
      do throws(BPFError) {
        try object.load()
        return object
      } catch {
        let text = error.object
        guard
          let name = optional.keys.first(where: { !left.contains($0) && text.contains("'\($0)'") })
        else { throw error }
        left.insert(name)
        reasons[name] = error.attempt + ": " + error.advice
      }
    }
  }

  /// Pins what a server needs to use the programs.
  ///
  /// - Parameter directory: A directory on a BPF file system. Whoever may open the pins may read and
  ///   change the costs of all servers that use them.
  /// - Throws: `BPFError`. Nothing is pinned then.
  public func pin(in directory: FilePath) throws(BPFError) {
    let processes = try object.map("processes")
    try processes.pin(at: directory.appending("processes"))
    do throws(BPFError) {
      try object.pinSwiftTaskStorage("requests", in: directory)
    } catch {
      try processes.unpin(at: directory.appending("processes"))
      throw error
    }
  }

  /// The pins that ``pin(in:)`` makes.
  public static func pins(in directory: FilePath) -> [FilePath] {
    ["processes", "requests", "requests_control"].map { directory.appending($0) }
  }

  /// Runs of programs that the kernel left out (`recursion_misses`): events that are not counted.
  public var missedRuns: UInt64 {
    object.attachedPrograms.reduce(0) { sum, name in
      sum + ((try? object.program(name).recursionMisses()) ?? 0)
    }
  }

  /// Detaches the programs.
  public func detach() { object.detach() }

  /// Attaches the programs again after ``detach()``.
  ///
  /// - Throws: `BPFError`.
  public func attach() throws(BPFError) {
    var left = left
    var reasons: [String: String] = [:]
    try Self.attach(object, frequency: frequency, leavingOut: &left, &reasons)
  }
}
