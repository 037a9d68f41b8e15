// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// The calls to a ``FakeBackend`` that fail, and their errors.
///
/// ```swift
/// var faults = FaultPlan()
/// faults.fail(.attach, call: 2, with: .noMemory)         // the second thread gets ENOMEM
/// faults.fail(.lookup, from: 1, with: .permissionDenied) // every lookup
/// ```
public struct FaultPlan: Sendable, Hashable {
  /// An operation that can fail.
  public enum Operation: Sendable, Hashable, CaseIterable {
    /// The first touch of a thread.
    case attach
    /// Reading a value as a copy, or verifying the mapping of one.
    case lookup
    /// Writing a value as a copy.
    case update
    /// Removing a value.
    case delete
  }

  private struct Fault: Hashable {
    var operation: Operation
    var calls: ClosedRange<Int>
    var errno: Errno
  }

  private var faults: [Fault] = []

  /// A plan without faults.
  public init() {}

  /// Makes one call fail.
  ///
  /// - Parameters:
  ///   - operation: The operation that fails.
  ///   - call: The number of the call of that operation, counted from 1 over all threads.
  ///   - errno: The error.
  /// - Precondition: `call` is at least 1.
  public mutating func fail(_ operation: Operation, call: Int, with errno: Errno) {
    precondition(call > 0, "calls are counted from 1")
    faults.append(Fault(operation: operation, calls: call...call, errno: errno))
  }

  /// Makes every call from `first` on fail, counted from 1 over all threads.
  ///
  /// - Precondition: `first` is at least 1.
  public mutating func fail(_ operation: Operation, from first: Int, with errno: Errno) {
    precondition(first > 0, "calls are counted from 1")
    faults.append(Fault(operation: operation, calls: first...Int.max, errno: errno))
  }

  func fault(of operation: Operation, call: Int) -> Errno? {
    faults.first { $0.operation == operation && $0.calls.contains(call) }?.errno
  }
}
