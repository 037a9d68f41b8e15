// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import CLibBPFShim
import Glibc
package import SystemPackage

// Invariant: the descriptor is open while the handle exists. Callers pass pointers to as many bytes
// as the map's values have; `MapBytes` checks the sizes itself.

/// Keeps a map's descriptor open, also after ``BPFMap/close()``, and accesses its elements.
///
/// An element call makes one system call. It returns `nil` on success.
package final class MapHandle: Sendable {
  private let map: BPFMap
  private let descriptor: CInt

  package var name: String { map.name }

  /// Whether system calls with this descriptor can change the map, as in `BPFMapInfo.isWritable`. Reads `/proc`.
  package var isWritable: Bool { canChangeMap(descriptor) }

  /// Whether system calls with this descriptor cannot read the map.
  package var isWriteOnly: Bool { LibBPF.isWriteOnly(descriptor) }

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

  /// Maps the map from its start, for reading and writing. For task storage with `BPF_F_MMAPABLE`,
  /// maps the calling thread's value, which is created if there is none.
  package func mapShared(size: Int) -> Result<UnsafeMutableRawPointer, Errno> {
    let address = unsafe mmap(nil, size, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0)
    guard let address = unsafe address, unsafe address != UnsafeMutableRawPointer(bitPattern: -1)
    else { return unsafe .failure(Errno(rawValue: errno)) }
    return unsafe .success(address)
  }

  /// The same over an existing mapping, which is unchanged on failure. Two system calls, because a
  /// failed `mmap(2)` with `MAP_FIXED` would leave a hole.
  package func mapShared(size: Int, over address: UnsafeMutableRawPointer) -> Errno? {
    unsafe outcome(mms_map_over(descriptor, size, address))
  }

  /// Removes such a mapping.
  package func unmap(_ address: UnsafeMutableRawPointer, size: Int) {
    _ = unsafe munmap(address, size)
  }

  /// The same as an object that unmaps it.
  package func mapMemory(size: Int) throws(Errno) -> MemoryMapping {
    try MemoryMapping(size: size, flags: MAP_SHARED, descriptor: descriptor)
  }

  fileprivate func outcome(_ code: CInt) -> Errno? { code == 0 ? nil : Errno(rawValue: -code) }
}

/// The elements of a map as bytes, with the kernel's sizes.
package struct MapBytes: Sendable {
  private let handle: MapHandle
  private let keySize: Int
  /// The size of a value in bytes; for a per-CPU map, of the values for all processors.
  package let valueSize: Int

  /// Costs a system call, and for a per-CPU map reading a file.
  package init(_ handle: MapHandle, for attempt: String) throws(BPFError) {
    let (code, info) = handle.withNumber(readMapInfo)
    guard code == 0 else {
      throw BPFError(code: code, attempt: attempt, on: "map '\(handle.name)'")
    }
    self.handle = handle
    keySize = Int(info.key_size)
    let size = Int(info.value_size)
    // The kernel rounds each value of a per-CPU map up to eight bytes.
    valueSize =
      BPFMapType(rawValue: info.type).isPerCPU
      ? ((size + 7) & ~7) * (try possibleProcessors()) : size
  }

  /// Copies the value of a key out (`BPF_MAP_LOOKUP_ELEM`).
  ///
  /// - Precondition: `key` has the size of the map's keys, as in the other functions.
  package func value(of key: [UInt8]) throws(Errno) -> [UInt8] {
    precondition(key.count == keySize)
    var value = [UInt8](repeating: 0, count: valueSize)
    try call { unsafe bpf_map_lookup_elem($0, key, &value) }
    return value
  }

  /// Copies the value of a key in (`BPF_MAP_UPDATE_ELEM`).
  ///
  /// - Precondition: `value` has the size of the map's values.
  package func set(
    _ value: [UInt8],
    of key: [UInt8],
    _ condition: UpdateCondition
  ) throws(Errno) {
    precondition(key.count == keySize && value.count == valueSize)
    try call { unsafe bpf_map_update_elem($0, key, value, condition.rawValue) }
  }

  /// Deletes a key (`BPF_MAP_DELETE_ELEM`).
  package func remove(_ key: [UInt8]) throws(Errno) {
    precondition(key.count == keySize)
    try call { unsafe bpf_map_delete_elem($0, key) }
  }

  /// Finds the key after another one, or the first if that is nil or was removed
  /// (`BPF_MAP_GET_NEXT_KEY`).
  package func key(after key: [UInt8]?) throws(Errno) -> [UInt8] {
    precondition(key.map { $0.count == keySize } ?? true)
    var next = [UInt8](repeating: 0, count: keySize)
    try call {
      if let key {
        unsafe bpf_map_get_next_key($0, key, &next)
      } else {
        unsafe bpf_map_get_next_key($0, nil, &next)
      }
    }
    return next
  }

  private func call(_ body: (CInt) -> CInt) throws(Errno) {
    if let errno = handle.outcome(handle.withNumber(body)) { throw errno }
  }
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

/// The number of possible processors, which is the number of values of an element of a per-CPU map
/// (`libbpf_num_possible_cpus`).
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
