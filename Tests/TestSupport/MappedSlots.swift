// SPDX-License-Identifier: Apache-2.0
import Glibc
package import MmapStorage
package import SystemPackage

/// The map `requests` of requests.bpf.c, as any process can open it.
package struct MappedSlots: @unchecked Sendable {
  package struct Slot {
    package var owner: UInt64
    package var holder: UInt64
    package var task: UInt64
    package var binding: UInt64
    package var id: UInt64

    package init(
      owner: UInt64,
      holder: UInt64,
      task: UInt64 = 0,
      binding: UInt64 = 0,
      id: UInt64
    ) {
      self.owner = owner
      self.holder = holder
      self.task = task
      self.binding = binding
      self.id = id
    }
  }

  package let address: UnsafeMutableRawPointer

  package init(_ map: BPFMap) throws {
    address = try map.withDescriptor { descriptor in
      let size = 256 * 64
      let address = mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor.rawValue, 0)
      guard let address, address != MAP_FAILED else { throw Errno(rawValue: errno) }
      return address
    }
  }

  package subscript(index: Int) -> Slot {
    get { (address + index * 64).load(as: Slot.self) }
    nonmutating set { (address + index * 64).storeBytes(of: newValue, as: Slot.self) }
  }

  package static func owner(_ control: FileDescriptor) -> UInt64 {
    let program = try? BPFProgram(duplicating: control)
    let halves = [1, 2].map { half in try? program?.runRaw([half, 0, 0, 0, 0, 0]).get() }
    return UInt64(halves[0] ?? 0) << 32 | UInt64(halves[1] ?? 0)
  }

  package func deallocateMapping() { _ = munmap(address, 256 * 64) }
}
