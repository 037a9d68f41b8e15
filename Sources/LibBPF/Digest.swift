// SPDX-License-Identifier: Apache-2.0

/// A hash (FNV-1a) that distinguishes versions of an object. It is not resistant to deliberate
/// collisions.
package struct Digest {
  private var hash: UInt64 = 0xcbf2_9ce4_8422_2325

  package init() {}

  package mutating func add(_ bytes: some Sequence<UInt8>) {
    for byte in bytes { hash = (hash ^ UInt64(byte)) &* 0x100_0000_01b3 }
  }

  package mutating func add(_ number: some BinaryInteger) {
    let number = UInt64(truncatingIfNeeded: number)
    add((0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) })
  }

  package mutating func add(_ text: String) {
    add(text.utf8.count)
    add(text.utf8)
  }

  package var hexadecimal: String { String(hash, radix: 16) }
}
