import CLibBPFShim
package import SystemPackage

extension BPFMap {
  /// Copies the value of `key` out: one system call. Nil is success.
  ///
  /// - Parameters:
  ///   - key: As many bytes as the map's key has.
  ///   - value: Room for as many bytes as the map's value has.
  ///   - flags: The kernel's flags for a lookup.
  package func lookup(
    key: UnsafeRawPointer,
    into value: UnsafeMutableRawPointer,
    flags: UInt64 = 0
  ) -> Errno? {
    withNumber { mms_map_lookup($0, key, value, flags) }
  }

  /// Copies the value of `key` in: one system call. Nil is success.
  ///
  /// - Parameters:
  ///   - key: As many bytes as the map's key has.
  ///   - value: As many bytes as the map's value has.
  ///   - flags: `BPF_ANY` (0), `BPF_NOEXIST` (1) or `BPF_EXIST` (2).
  package func update(
    key: UnsafeRawPointer,
    value: UnsafeRawPointer,
    flags: UInt64 = 0
  ) -> Errno? {
    withNumber { mms_map_update($0, key, value, flags) }
  }

  /// Deletes the value of `key`: one system call. Nil is success.
  ///
  /// - Parameter key: As many bytes as the map's key has.
  package func delete(key: UnsafeRawPointer) -> Errno? {
    withNumber { mms_map_delete($0, key) }
  }
}
