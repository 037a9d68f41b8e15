// SPDX-License-Identifier: Apache-2.0
import CBaselines
import MmapStorage

/// An operation on the hot path, in Swift and in C. `Pairs` measures its time and `Counts` counts
/// its instructions.
///
/// Each side is one function that runs it the given number of times, so that its machine code can
/// be inspected.
package struct Operation: Sendable {
  /// The name of the Swift function, by which its machine code is found.
  package var function: String
  /// The operation, and its group of benchmarks.
  package var what: String
  /// The baseline.
  package var against: String
  package var ours: @Sendable (TaskLocalStorage<Counters>, Int) throws -> UInt64
  /// Needs `baseline_enter` on its thread, and `baseline_prepare_keys`.
  package var baseline: @Sendable (Int) -> UInt64

  package static let all = [
    Operation(
      function: "readField",
      what: "access: read a field",
      against: "thread-local pointer",
      ours: readField,
      baseline: { baseline_read_field($0) }
    ),
    Operation(
      function: "writeField",
      what: "access: write a field",
      against: "thread-local pointer",
      ours: writeField,
      baseline: { baseline_write_field($0) }
    ),
    Operation(
      function: "mixFields",
      what: "access: eight mixed fields",
      against: "thread-local pointer",
      ours: mixFields,
      baseline: { baseline_mixed_fields($0) }
    ),
    Operation(
      function: "copyAll",
      what: "access: copy 64 bytes",
      against: "thread-local pointer",
      ours: copyAll,
      baseline: { baseline_copy($0) }
    ),
    Operation(
      function: "addAtomically",
      what: "access: atomic add",
      against: "thread-local pointer",
      ours: addAtomically,
      baseline: { baseline_add($0) }
    ),
    Operation(
      function: "enterAndRead",
      what: "entry: enter and read",
      against: "thread-local pointer and a check",
      ours: enterAndRead,
      baseline: { baseline_enter_and_read($0) }
    ),
    Operation(
      function: "enterAndRead",
      what: "entry: enter and read",
      against: "by key, as the kernel's helper",
      ours: enterAndRead,
      baseline: { baseline_enter_by_key($0) }
    ),
  ]
}

@inline(never)
private func readField(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  try storage.withCurrent { view in
    var sum: UInt64 = 0
    for _ in 0..<count { sum &+= view.b }
    return sum
  }
}

@inline(never)
private func writeField(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  try storage.withCurrent { view in
    for i in 0..<count { view.b = UInt64(truncatingIfNeeded: i) }
    return view.b
  }
}

@inline(never)
private func mixFields(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  try storage.withCurrent { view in
    for _ in 0..<count {
      view.a = view.b &+ UInt64(view.c)
      view.d = view.c &+ 1
      view.f = view.e
      view.h = view.g
    }
    return view.a
  }
}

@inline(never)
private func copyAll(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  try storage.withCurrent { view in
    var sum: UInt64 = 0
    for _ in 0..<count {
      sum &+= view.load().b
    }
    return sum
  }
}

@inline(never)
private func addAtomically(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  try storage.withCurrent { view in
    for _ in 0..<count { view.atomic.b.wrappingAdd(1) }
    return view.b
  }
}

@inline(never)
package func enterAndRead(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws -> UInt64 {
  var sum: UInt64 = 0
  for _ in 0..<count {
    sum &+= try storage.withCurrent { $0.b }
    baseline_forget_memory()  // as the baselines do, so that each iteration enters again
  }
  return sum
}
