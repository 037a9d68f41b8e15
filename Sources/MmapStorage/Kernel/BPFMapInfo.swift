/// What the kernel says about a map.
public struct BPFMapInfo: Sendable, Hashable {
  /// The kind of map.
  public var type: BPFMapType
  /// The map's number, unique among the maps that exist.
  public var id: UInt32
  /// The kernel's name: the first 15 bytes of the declared one. May be empty.
  public var name: String
  /// Bytes of a key.
  public var keySize: Int
  /// Bytes of a value.
  public var valueSize: Int
  /// The limit of entries; 0 for task storage, which has none.
  public var maxEntries: Int
  /// How the map was created.
  public var flags: BPFMapFlags
  /// The number of the type information that the map was created with; 0 for none.
  public var btfID: UInt32
  /// The key's type in that type information; 0 for none.
  public var btfKeyTypeID: UInt32
  /// The value's type in that type information; 0 for none.
  public var btfValueTypeID: UInt32
  /// Whether system calls with this descriptor may change the map: it was opened for writing, and
  /// nobody froze the map (`bpf_map_freeze`).
  public var isWritable: Bool
  /// Bytes of kernel memory that the map takes, as far as the kernel counts them; nil if
  /// `/proc` does not say.
  public var memory: Int?
}
