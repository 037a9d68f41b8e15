// SPDX-License-Identifier: Apache-2.0

/// A generator of numbers (xorshift) that repeats what its seed gives, for fuzzers. The seed is not 0.
struct SeededRandom {
  var state: UInt64

  mutating func next(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(bound))
  }
}
