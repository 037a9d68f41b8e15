// SPDX-License-Identifier: Apache-2.0
import CLibBPFShim
import Glibc
import SystemPackage

// Invariant: `bytes` are mapped from `init` to `deinit`.

/// Mapped memory. Unmapped in `deinit`.
@safe
package final class MemoryMapping: Sendable {
  /// The memory, which exists as long as this object.
  package nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer
  package let isWritable: Bool

  /// Maps memory (`mmap(2)`) at an address that the kernel chooses.
  init(
    size: Int,
    isWritable: Bool = true,
    flags: CInt,
    descriptor: CInt = -1
  ) throws(Errno) {
    let protection = isWritable ? PROT_READ | PROT_WRITE : PROT_READ
    let address = unsafe mmap(nil, size, protection, flags, descriptor, 0)
    guard let address = unsafe address, unsafe address != UnsafeMutableRawPointer(bitPattern: -1)
    else { throw Errno(rawValue: errno) }
    unsafe bytes = UnsafeMutableRawBufferPointer(start: address, count: size)
    self.isWritable = isWritable
  }

  /// Replaces the memory by private zeroes. If the kernel has no memory for them, an access traps.
  package func replaceWithZeroes() {
    guard let start = unsafe bytes.baseAddress else { return }
    if unsafe mms_map_over(-1, bytes.count, start) != 0 {
      unsafe mprotect(start, bytes.count, PROT_NONE)
    }
  }

  deinit { unsafe munmap(bytes.baseAddress, bytes.count) }

  /// The index of the first byte that is 0, or the size.
  var firstZero: Int { unsafe bytes.firstIndex(of: 0) ?? bytes.count }

  /// A copy of bytes. Traps if they are not in the memory.
  func copy(_ range: Range<Int>) -> [UInt8] {
    unsafe precondition(range.lowerBound >= 0 && range.upperBound <= bytes.count)
    return unsafe Array(bytes[range])
  }
}
