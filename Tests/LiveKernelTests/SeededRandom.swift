// SPDX-License-Identifier: Apache-2.0

/// A random number generator (xorshift) with a seed, which is not 0, for fuzzers.
struct SeededRandom {
  var state: UInt64

  mutating func next(_ bound: Int) -> Int {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return Int(state % UInt64(bound))
  }
}
