// SPDX-License-Identifier: Apache-2.0
import CBaselines
@_spi(Benchmarks) import MmapStorage
import Operations

/// The library on pages that threads map, against system calls in C. In instructions, including
/// those of the kernel.
func compareMapped() throws {
  guard let object = try loadValues(for: .mapped),
    let ordinary = try loadValues(for: .lookup)
  else { return }
  let storage = try TaskLocalStorage<Counters>(map: object.map("values"))
  let pidfd = baseline_own_pidfd()

  let looked = try ordinary.map("theirs")
  let prepare = try TaskLocalStorage<Counters>(map: looked, lookupBy: .pidfd)
  try prepare.withCurrent { $0.b = 1 }
  try compare("system call: instructions of a read (.mapped | bpf_map_lookup_elem)", 10_000) {
    _ = try enterAndRead(storage, $0)
  } baseline: {
    try check(baseline_lookup(number(of: looked), pidfd, $0))
  }

  let theirs = try object.map("theirs")
  try compare("attach: instructions of view and removal (mapped | the same system calls)", 100) {
    try touchAndRemove(storage, $0)
  } baseline: { count in
    let map = try number(of: theirs)
    for _ in 0..<count { try check(baseline_map_and_remove(map, pidfd)) }
  }
}

/// Prints nine samples, as kernel_side() does.
private func compare(
  _ name: String,
  _ count: Int,
  ours: (Int) throws -> Void,
  baseline: (Int) throws -> Void
) throws {
  func instructions(_ body: (Int) throws -> Void) throws -> Double {
    let before = baseline_now()
    try body(count)
    return Double(baseline_now() - before) / Double(count)
  }
  try ours(1)
  for _ in 0..<9 {
    let samples = try (instructions(ours), instructions(baseline))
    print(name, "instructions", samples.0, samples.1, separator: "\t")
  }
}
