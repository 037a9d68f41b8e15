// SPDX-License-Identifier: Apache-2.0

/// The kernel's information about a map.
public struct BPFMapInfo: Sendable, Hashable {
  /// The type of the map.
  public var type: BPFMapType
  /// The map's id, unique among the maps that exist.
  public var id: UInt32
  /// The kernel's name: the first 15 bytes of the declared one. May be empty.
  public var name: String
  /// Bytes of a key.
  public var keySize: Int
  /// Bytes of a value.
  public var valueSize: Int
  /// The maximum number of entries; 0 for task storage, which has none.
  public var maxEntries: Int
  /// The flags that the map was created with, without those for its first descriptor, such as `BPF_F_RDONLY`.
  public var flags: BPFMapFlags
  /// The id of the type information that the map was created with; 0 for none.
  package var btfID: UInt32
  /// The key's type in that type information; 0 for none.
  package var btfKeyTypeID: UInt32
  /// The value's type in that type information; 0 for none.
  package var btfValueTypeID: UInt32
  /// Whether system calls with this descriptor can change the map: it was opened for writing, and
  /// the map is not frozen (`BPF_MAP_FREEZE`).
  package var isWritable: Bool
  /// Bytes of kernel memory that the kernel accounts to the map; `nil` without `/proc`.
  public var memory: Int?
}
