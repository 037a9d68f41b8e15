// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import CLibBPFShim
import Glibc
package import SystemPackage

/// Keeps a map's descriptor open, also after ``BPFMap/close()``, and accesses its elements.
///
/// An element call costs its system call and no more. It returns `nil` on success.
package final class MapHandle: Sendable {
  private let map: BPFMap
  private let descriptor: CInt

  package var name: String { map.name }

  /// Lends the descriptor's number.
  func withNumber<Result>(_ body: (CInt) -> Result) -> Result { body(descriptor) }

  /// - Throws: ``BPFError/Kind/wrongState`` if the map is closed.
  package init(_ map: BPFMap, for attempt: String) throws(BPFError) {
    self.map = map
    descriptor = try map.beginCall(for: attempt)
  }

  deinit { map.endCall() }

  /// The same map, with a descriptor of its own.
  package func duplicate() throws(BPFError) -> BPFMap {
    try BPFMap(duplicating: FileDescriptor(rawValue: descriptor))
  }

  /// Copies the value of `key` out (`BPF_MAP_LOOKUP_ELEM`).
  package func lookup(key: CInt, into value: UnsafeMutableRawPointer) -> Errno? {
    unsafe outcome(withUnsafePointer(to: key) { unsafe bpf_map_lookup_elem(descriptor, $0, value) })
  }

  /// Copies the value of `key` in (`BPF_MAP_UPDATE_ELEM`).
  package func update(
    key: CInt,
    value: UnsafeRawPointer,
    _ condition: UpdateCondition
  ) -> Errno? {
    unsafe outcome(
      withUnsafePointer(to: key) {
        unsafe bpf_map_update_elem(descriptor, $0, value, condition.rawValue)
      }
    )
  }

  /// Deletes the value of `key` (`BPF_MAP_DELETE_ELEM`).
  package func delete(key: CInt) -> Errno? {
    unsafe outcome(withUnsafePointer(to: key) { unsafe bpf_map_delete_elem(descriptor, $0) })
  }

  /// Maps the map from its start, for reading and writing; for task storage with `BPF_F_MMAPABLE`
  /// that is the calling thread's value, which is created if there is none.
  package func mapShared(size: Int) -> Result<UnsafeMutableRawPointer, Errno> {
    unsafe mapMemory(size: size, flags: MAP_SHARED, descriptor: descriptor)
  }

  /// The same in the place of an earlier mapping, which stays if this fails. Two system calls:
  /// `mmap(2)` with `MAP_FIXED` would leave a hole where it fails.
  package func mapShared(size: Int, over address: UnsafeMutableRawPointer) -> Errno? {
    unsafe outcome(mms_map_shared_over(descriptor, size, address))
  }

  /// Removes such a mapping.
  package func unmap(_ address: UnsafeMutableRawPointer, size: Int) {
    unsafe unmapMemory(UnsafeMutableRawBufferPointer(start: address, count: size))
  }

  private func outcome(_ code: CInt) -> Errno? { code == 0 ? nil : Errno(rawValue: -code) }
}

/// The condition of an update.
package enum UpdateCondition: UInt64 {
  /// None (`BPF_ANY`).
  case always = 0
  /// The key has no value yet (`BPF_NOEXIST`).
  case isAbsent = 1
  /// The key has a value (`BPF_EXIST`).
  case exists = 2
}
