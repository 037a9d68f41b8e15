// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc

/// The memory of an object's section of global variables. Unmapped in `deinit`.
@safe
package final class MappedSection: Sendable {
  package nonisolated(unsafe) let bytes: UnsafeMutableRawBufferPointer
  package let isWritable: Bool

  fileprivate init(_ bytes: UnsafeMutableRawBufferPointer, isWritable: Bool) {
    unsafe self.bytes = bytes
    self.isWritable = isWritable
  }

  deinit { unsafe unmapMemory(bytes) }
}

extension BPFObject {
  /// Maps a section of global variables of the loaded object, on its own: the memory outlives the object.
  package func mapSection(_ name: String) throws(BPFError) -> MappedSection {
    let attempt = "map the global variables in section '\(name)'"
    return try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.loaded(for: attempt, on: describedName)
      guard let map = unsafe bpf_object__find_map_by_name(pointer, name),
        unsafe bpf_map__is_internal(map)
      else {
        throw BPFError(
          .notFound,
          attempt: attempt,
          on: describedName,
          advice: "the object has no such section"
        )
      }
      let isWritable = !name.hasPrefix(".rodata")
      let size = unsafe Int(bpf_map__value_size(map))
      switch unsafe mapMemory(
        size: size,
        protection: isWritable ? PROT_READ | PROT_WRITE : PROT_READ,
        flags: MAP_SHARED,
        descriptor: bpf_map__fd(map)
      ) {
      case .success(let address):
        return unsafe MappedSection(
          UnsafeMutableRawBufferPointer(start: address, count: size),
          isWritable: isWritable
        )
      case .failure(let errno):
        throw BPFError(
          errno: errno,
          attempt: attempt,
          on: describedName,
          advice: "mapping arrays needs Linux 5.5"
        )
      }
    }
  }
}
