// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

/// A hash map (`BPF_MAP_TYPE_HASH`, `BPF_MAP_TYPE_LRU_HASH`) with typed keys and values.
///
/// Each access is a system call of libbpf. May be used from any thread. Keeps the map open.
///
/// Programs must zero the padding of keys. The kernel compares all bytes of a key, and functions
/// that take a key find, add and remove only keys whose padding is zero. Other keys are returned by
/// ``keys()`` and ``contents()``.
public struct BPFHashMap<Key: MapField, Value: MapField>: Sendable {
  private let elements: MapElements<Key, Value>

  /// Opens a map, and compares the layouts of its keys and values.
  ///
  /// - Throws: ``BPFError/Kind/wrongType``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState`` for a closed map.
  public init(_ map: BPFMap) throws(BPFError) {
    elements = try MapElements(map, types: [.hash, .lruHash], attempt: "use it as a hash map")
  }

  /// Returns a copy of the value of a key; `nil` if there is none (`bpf_map_lookup_elem`).
  ///
  /// - Throws: A system error.
  public func value(for key: Key) throws(BPFError) -> Value? {
    try elements.values(of: key, "look up a key")?.first
  }

  /// Sets the value of a key, and adds the key if there is none (`bpf_map_update_elem`).
  ///
  /// - Throws: A system error, such as ``BPFError/Kind/system`` with `E2BIG` if the map is full.
  public func setValue(_ value: Value, for key: Key) throws(BPFError) {
    _ = try elements.set([value], of: key, .always, "set the value of a key")
  }

  /// Adds a key if there is none (`BPF_NOEXIST`).
  ///
  /// - Returns: Whether the key was added.
  /// - Throws: A system error.
  public func insert(_ value: Value, for key: Key) throws(BPFError) -> Bool {
    try elements.set([value], of: key, .isAbsent, "add a key")
  }

  /// Sets the value of an existing key (`BPF_EXIST`). Does not add a key, unlike `Dictionary.updateValue(_:forKey:)`.
  ///
  /// - Returns: Whether the key existed.
  /// - Throws: A system error.
  public func updateValue(_ value: Value, for key: Key) throws(BPFError) -> Bool {
    try elements.set([value], of: key, .exists, "update the value of a key")
  }

  /// Removes a key (`bpf_map_delete_elem`).
  ///
  /// - Returns: Whether the key existed.
  /// - Throws: A system error.
  @discardableResult
  public func removeValue(for key: Key) throws(BPFError) -> Bool {
    try elements.remove(key, "remove a key")
  }

  /// Returns the keys (`bpf_map_get_next_key`), in no particular order. Costs one system call for each key.
  ///
  /// If keys are added or removed meanwhile, a key may be missing or occur twice.
  ///
  /// - Throws: A system error.
  public func keys() throws(BPFError) -> [Key] { try elements.keys() }

  /// Returns the keys with their values, in no particular order. Costs two system calls for each key.
  ///
  /// Omits keys that are removed meanwhile. As with ``keys()``, a key may occur twice, so do not pass the result to
  /// `Dictionary(uniqueKeysWithValues:)`, which traps then.
  ///
  /// - Throws: A system error.
  public func contents() throws(BPFError) -> [(key: Key, value: Value)] { try elements.contents() }
}

/// A hash map with a value for each processor (`BPF_MAP_TYPE_PERCPU_HASH`,
/// `BPF_MAP_TYPE_LRU_PERCPU_HASH`), with typed keys and values.
///
/// Each access is a system call of libbpf. May be used from any thread. Keeps the map open.
///
/// Programs must zero the padding of keys. The kernel compares all bytes of a key, and functions
/// that take a key find, add and remove only keys whose padding is zero. Other keys are returned by ``keys()``.
public struct BPFPerCPUHashMap<Key: MapField, Value: MapField>: Sendable {
  private let elements: MapElements<Key, Value>

  /// Opens a map, and compares the layouts of its keys and values.
  ///
  /// - Throws: As ``BPFHashMap/init(_:)``.
  public init(_ map: BPFMap) throws(BPFError) {
    elements = try MapElements(
      map,
      types: [.perCPUHash, .lruPerCPUHash],
      attempt: "use it as a per-CPU hash map"
    )
  }

  /// The number of values of a key: that of the possible processors (`libbpf_num_possible_cpus`).
  public var processorCount: Int { elements.copies }

  /// Returns the values of a key, one for each possible processor, in the order of their numbers; `nil` if there is
  /// no such key.
  ///
  /// - Throws: A system error.
  public func values(for key: Key) throws(BPFError) -> [Value]? {
    try elements.values(of: key, "look up a key")
  }

  /// Sets the values of a key, in the order of the processors' numbers, and adds the key if there is none.
  ///
  /// - Precondition: There are ``processorCount`` values.
  /// - Throws: A system error.
  public func setValues(_ values: [Value], for key: Key) throws(BPFError) {
    _ = try elements.set(values, of: key, .always, "set the values of a key")
  }

  /// Removes a key.
  ///
  /// - Returns: Whether the key existed.
  /// - Throws: A system error.
  @discardableResult
  public func removeValues(for key: Key) throws(BPFError) -> Bool {
    try elements.remove(key, "remove a key")
  }

  /// Returns the keys, as ``BPFHashMap/keys()`` does: one may be missing or occur twice if they change meanwhile.
  ///
  /// - Throws: A system error.
  public func keys() throws(BPFError) -> [Key] { try elements.keys() }
}
