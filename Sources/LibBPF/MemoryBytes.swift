// SPDX-License-Identifier: Apache-2.0

extension FixedWidthInteger {
  /// The bytes in the native byte order, which is the kernel's.
  @inlinable
  package var memoryBytes: [UInt8] {
    let bytes = stride(from: 0, to: Self.bitWidth, by: 8).map {
      UInt8(truncatingIfNeeded: self >> Self($0))
    }
    return Self(1).littleEndian == 1 ? bytes : bytes.reversed()
  }

  /// Reads bytes in the native byte order. Bytes that are missing at the end read as zero.
  @inlinable
  package init(memoryBytes bytes: some Collection<UInt8>) {
    var number: Self = 0
    for (index, byte) in bytes.prefix(Self.bitWidth / 8).enumerated() {
      number |= Self(truncatingIfNeeded: byte) << Self(8 * index)
    }
    self.init(littleEndian: number)
  }
}
