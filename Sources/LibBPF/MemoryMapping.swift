// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Maps memory (`mmap(2)`).
func mapMemory(
  size: Int,
  protection: CInt = PROT_READ | PROT_WRITE,
  flags: CInt,
  descriptor: CInt = -1
) -> Result<UnsafeMutableRawPointer, Errno> {
  let failed = unsafe UnsafeMutableRawPointer(bitPattern: -1)
  let address = unsafe mmap(nil, size, protection, flags, descriptor, 0)
  guard let address = unsafe address, unsafe address != failed else {
    return unsafe .failure(Errno(rawValue: errno))
  }
  return unsafe .success(address)
}

func unmapMemory(_ memory: UnsafeMutableRawBufferPointer) {
  if let start = memory.baseAddress { unsafe munmap(start, memory.count) }
}
