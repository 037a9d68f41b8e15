// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import SystemPackage

/// The work of a thread: numbers of system calls of some kinds.
public struct Worker: Sendable {
  /// The name of the thread in the table.
  public var name: String
  /// The program samples one of this many calls.
  public var sampling: UInt32
  /// The activities, and the number of repetitions of each.
  public var plan: [(Activity, Int)]

  /// Creates a thread's work.
  public init(name: String, sampling: UInt32, plan: [(Activity, Int)]) {
    self.name = name
    self.sampling = sampling
    self.plan = plan
  }

  /// A thread's own counters after its work.
  public struct Result: Sendable {
    /// The work.
    public var worker: Worker
    /// All calls, by class.
    public var seen: [UInt64]
    /// The sampled ones, by class.
    public var sampled: [UInt64]

    /// The number of calls that were not counted; nil if more were counted than made.
    public var missing: UInt64? {
      var sum: UInt64 = 0
      for (activity, calls) in worker.plan {
        let seen = seen[activity.callClass.rawValue]
        guard seen <= UInt64(calls) else { return nil }
        sum += UInt64(calls) - seen
      }
      return sum
    }

    /// The classes whose counts differ from the thread's work, as text.
    public var mistakes: [String] {
      worker.plan.compactMap { activity, calls in
        let kind = activity.callClass
        let due = (UInt64(calls) + UInt64(worker.sampling) - 1) / UInt64(worker.sampling)
        let (seen, sampled) = (seen[kind.rawValue], sampled[kind.rawValue])
        guard seen != UInt64(calls) || sampled != due else { return nil }
        return "\(worker.name): \(kind): \(calls) calls made, \(seen) seen; "
          + "\(due) due in the sample, \(sampled) there"
      }
    }
  }

  /// Does the work on the calling thread and reads the thread's own counters.
  ///
  /// - Parameters:
  ///   - counters: The storage that the program counts in.
  ///   - called: Called after each system call, to act as the program if there is none.
  /// - Returns: The thread's counters.
  /// - Throws: `BPFError`, or the error of opening /dev/null.
  public func run(
    counters: TaskLocalStorage<CallCounters>,
    called: (CallClass) -> Void = { _ in }
  ) throws -> Result {
    let file = try FileDescriptor.open("/dev/null", .readWrite, options: .closeOnExec)
    defer { try? file.close() }

    try counters.withCurrent { $0.sampling = sampling }
    for (activity, calls) in plan {
      for _ in 0..<calls {
        activity.perform(on: file)
        called(activity.callClass)
      }
    }
    return try counters.withCurrent { view in
      // Later calls of the thread are not part of its work.
      view.sampling = 0
      var result = Result(worker: self, seen: [], sampled: [])
      for kind in CallClass.allCases {
        result.seen.append(view.seen[kind.rawValue])
        result.sampled.append(view.sampled[kind.rawValue])
      }
      return result
    }
  }
}
