// SPDX-License-Identifier: Apache-2.0
import CLibBPF
package import SystemPackage

/// Elements of maps whose keys are any bytes. The caller checks the sizes of keys and values.
extension MapHandle {
  /// Copies the value of a key out (`BPF_MAP_LOOKUP_ELEM`).
  package func lookup(_ key: UnsafeRawPointer, into value: UnsafeMutableRawPointer) -> Errno? {
    withNumber { unsafe errno(bpf_map_lookup_elem($0, key, value)) }
  }

  /// Copies the value of a key in (`BPF_MAP_UPDATE_ELEM`).
  package func update(
    _ key: UnsafeRawPointer,
    value: UnsafeRawPointer,
    _ condition: UpdateCondition
  ) -> Errno? {
    withNumber { unsafe errno(bpf_map_update_elem($0, key, value, condition.rawValue)) }
  }

  /// Deletes a key (`BPF_MAP_DELETE_ELEM`).
  package func delete(_ key: UnsafeRawPointer) -> Errno? {
    withNumber { unsafe errno(bpf_map_delete_elem($0, key)) }
  }

  /// Finds the key after another one, or the first if that is nil or gone (`BPF_MAP_GET_NEXT_KEY`).
  package func nextKey(
    after key: UnsafeRawPointer?,
    into next: UnsafeMutableRawPointer
  ) -> Errno? {
    withNumber { unsafe errno(bpf_map_get_next_key($0, key, next)) }
  }

  private func errno(_ code: CInt) -> Errno? { code == 0 ? nil : Errno(rawValue: -code) }
}

/// The number of processors that the kernel may ever have, which is the number of values that an
/// element of a per-CPU map has (`libbpf_num_possible_cpus`).
package func possibleProcessors() throws(BPFError) -> Int {
  let count = libbpf_num_possible_cpus()
  guard count > 0 else {
    throw BPFError(
      code: count,
      attempt: "count the processors",
      on: "/sys/devices/system/cpu/possible"
    )
  }
  return Int(count)
}
