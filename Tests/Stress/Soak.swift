// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import TestSupport

/// Threads that start and end take random steps on three storages, and compare each result with a
/// model of their values.
func soak(_ backend: StressedBackend, _ clock: Deadline, seed: UInt64) throws -> Int {
  let storages = try backend.makeStorages()
  let steps = Box(0)
  var generator = SeededGenerator(seed: seed)
  while !clock.isOver {
    let threads = try (0..<8).map { _ in
      let seed = generator.next()
      return try TestThread {
        var generator = SeededGenerator(seed: seed)
        let count = Int.random(in: 1...400, using: &generator)
        try walk(storages, steps: count, &generator)
        steps.change { $0 += count }
        // An end of a thread without destructors.
        if generator.next() % 16 == 0, Sanitizer.toleratesExitCalls { test_exit_thread() }
      }
    }
    // Storages over the same map are created and released meanwhile.
    for _ in 0..<4 {
      let another = try storages.makeAnother()
      try another.withCurrent { $0.steps = 1 }
    }
    for thread in threads { try thread.join() }
  }
  return steps.get()
}

private func walk(
  _ storages: Storages,
  steps: Int,
  _ generator: inout SeededGenerator
) throws {
  var first = Small()
  var words: [UInt64] = Array(repeating: 0, count: 64)
  var exists = false
  for _ in 0..<steps {
    let number = generator.next()
    let index = Int(number % 64)
    switch Int.random(in: 0..<8, using: &generator) {
    case 0:
      first.owner = number
      exists = true
      try storages.first.withCurrent { $0.owner = number }
    case 1:
      words[index] = number
      try storages.third.withCurrent { $0.words[index] = number }
    case 2:
      let (owner, steps) = try storages.first.withCurrent { ($0.owner, $0.steps) }
      try expect(owner == first.owner, "owner \(owner), not \(first.owner)")
      try expect(steps == first.steps, "steps \(steps), not \(first.steps)")
    case 3:
      let word = try storages.third.withCurrent { $0.words[index] }
      try expect(word == words[index], "word \(index) is \(word), not \(words[index])")
    case 4:
      first.steps &+= 3
      exists = true
      try storages.first.withCurrent { (outer) throws(BPFError) in
        outer.steps &+= 1
        try storages.first.withCurrent { $0.steps &+= 1 }
        outer.atomic.steps.wrappingAdd(1)
      }
    case 5:
      let value = try storages.first.value(of: .thread(.current))
      if exists {
        try expect(value?.owner == first.owner, "a copy has the owner")
        try expect(value?.steps == first.steps, "a copy has the steps")
      }
    case 6:
      first.owner = number
      exists = true
      try storages.first.setValue(first, of: .thread(.current))
    default:
      if index < 8 {
        try storages.first.removeValue(of: .thread(.current))
        (first, exists) = (Small(), false)
      }
    }
  }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(seed: UInt64) { state = seed }

  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var bits = state
    bits = (bits ^ bits >> 30) &* 0xBF58_476D_1CE4_E5B9
    bits = (bits ^ bits >> 27) &* 0x94D0_49BB_1331_11EB
    return bits ^ bits >> 31
  }
}
