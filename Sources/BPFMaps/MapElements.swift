// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import MapValues
internal import SystemPackage

/// The elements of a map with typed keys and values.
struct MapElements<Key: MapField, Value: MapField>: Sendable {
  let handle: MapHandle
  let maxEntries: Int
  /// The number of values of an element: the number of possible processors for a per-CPU map.
  let copies: Int
  private let elements: MapBytes
  private let keyFields: [Range<Int>]
  private let subject: String

  /// Opens a map, and compares the layouts of its keys and values.
  init(
    _ map: BPFMap,
    types: Set<BPFMapType>,
    layout: ValueLayout? = nil,
    attempt: String
  ) throws(BPFError) {
    let info = try map.info
    subject = map.describedName
    guard types.contains(info.type) else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: subject,
        advice: "it has the type \(info.type)"
      )
    }
    let (key, value): (FieldType?, FieldType?) =
      if let layout { (nil, layout.type) } else { try map.elementLayouts(attempt: attempt) }
    try Self.check(Key.self, key, of: "the key", map, size: info.keySize, attempt: attempt)
    try Self.check(Value.self, value, of: "the value", map, size: info.valueSize, attempt: attempt)
    keyFields = scalarRanges(of: try Key.fieldType())
    copies = info.type.isPerCPU ? try possibleProcessors() : 1
    maxEntries = info.maxEntries
    handle = try MapHandle(map, for: attempt)
    elements = try MapBytes(handle, for: attempt)
  }

  private static func check<Field: MapField>(
    _ type: Field.Type,
    _ layout: FieldType?,
    of part: String,
    _ map: BPFMap,
    size: Int,
    attempt: String
  ) throws(BPFError) {
    if let layout {
      try LayoutComparison(
        swift: try type.fieldType(),
        swiftName: "\(type)",
        map: layout,
        mapName: map.name
      ).check(of: type, as: part)
    }
    guard MemoryLayout<Field>.size <= size, MemoryLayout<Field>.stride == size else {
      throw BPFError(
        .layoutMismatch,
        attempt: attempt,
        on: map.describedName,
        advice:
          "\(part) has \(size) bytes, and Swift type '\(type)' has \(MemoryLayout<Field>.stride)"
      )
    }
  }

  // MARK: Elements

  /// The distance from one value of an element to the next.
  private var stride: Int { elements.valueSize / copies }

  func values(of key: Key, _ attempt: @autoclosure () -> String) throws(BPFError) -> [Value]? {
    try values(ofBytes: encode(key), attempt())
  }

  private func values(
    ofBytes key: [UInt8],
    _ attempt: @autoclosure () -> String
  ) throws(BPFError) -> [Value]? {
    do throws(Errno) {
      let bytes = try elements.value(of: key)
      return (0..<copies).map { loadWhole(Value.self, from: bytes, at: $0 * stride) }
    } catch {
      if error == .noSuchFileOrDirectory { return nil }
      throw failure(error, attempt())
    }
  }

  /// - Returns: Whether the condition held.
  func set(
    _ values: [Value],
    of key: Key,
    _ condition: UpdateCondition,
    _ attempt: @autoclosure () -> String
  ) throws(BPFError) -> Bool {
    precondition(values.count == copies, "a per-CPU map has a value for each possible processor")
    let whole = [0..<MemoryLayout<Value>.size]
    let bytes = values.flatMap { copyBytes(of: $0, whole, count: stride) }
    do throws(Errno) {
      try elements.set(bytes, of: encode(key), condition)
      return true
    } catch {
      switch (error, condition) {
      case (.fileExists, .isAbsent), (.noSuchFileOrDirectory, .exists): return false
      default: throw failure(error, attempt())
      }
    }
  }

  func remove(_ key: Key, _ attempt: @autoclosure () -> String) throws(BPFError) -> Bool {
    do throws(Errno) {
      try elements.remove(encode(key))
      return true
    } catch {
      if error == .noSuchFileOrDirectory { return false }
      throw failure(error, attempt())
    }
  }

  /// All keys.
  func keys() throws(BPFError) -> [Key] {
    try keyBytes().map { loadWhole(Key.self, from: $0) }
  }

  /// All keys, each with its first value. Omits keys that are removed meanwhile.
  func contents() throws(BPFError) -> [(key: Key, value: Value)] {
    var found: [(key: Key, value: Value)] = []
    // The keys' own bytes are looked up, because a program may have stored non-zero padding.
    for key in try keyBytes() {
      guard let value = try values(ofBytes: key, "look up a key")?.first else { continue }
      found.append((loadWhole(Key.self, from: key), value))
    }
    return found
  }

  /// The bytes of all keys. Stops at the map's maximum number of entries if keys change meanwhile.
  private func keyBytes() throws(BPFError) -> [[UInt8]] {
    var keys: [[UInt8]] = []
    while keys.count < maxEntries {
      do throws(Errno) {
        keys.append(try elements.key(after: keys.last))
      } catch {
        if error == .noSuchFileOrDirectory { break }
        throw failure(error, "find the keys")
      }
    }
    return keys
  }

  /// The bytes of a key, with zeroed padding: the kernel compares all bytes.
  private func encode(_ key: Key) -> [UInt8] {
    copyBytes(of: key, keyFields, count: MemoryLayout<Key>.stride)
  }

  private func failure(_ error: Errno, _ attempt: String) -> BPFError {
    let advice: String? =
      switch error {
      case .argListTooLong: "the map is full; declare it with more max_entries"
      case .noMemory: "the kernel has no memory for the element"
      case .notPermitted where !handle.isWritable:
        "its descriptor is read-only, or the map is frozen; open the map without readOnly: true, or declare "
          + "it without BPF_F_RDONLY"
      case .notPermitted where handle.isWriteOnly: writeOnlyAdvice
      default: nil
      }
    return BPFError(errno: error, attempt: attempt, on: subject, advice: advice)
  }
}

let writeOnlyAdvice = "its descriptor is write-only; declare the map without BPF_F_WRONLY"

extension BPFMap {
  /// The layouts of keys and values; nil for a part that was declared by its size only.
  func elementLayouts(attempt: String) throws(BPFError) -> (key: FieldType?, value: FieldType?) {
    let btf: BTF
    let key: UInt32
    let value: UInt32
    if let object {
      let declared = try object.declaredMap(name, attempt: attempt)
      guard let types = object.btf else { return (nil, nil) }
      (btf, key, value) = (types, declared.keyTypeID, declared.valueTypeID)
    } else {
      let types = try kernelTypes()
      (btf, key, value) = (types.btf, types.key, types.value)
    }
    var reader = BTFReader(btf: btf, attempt: attempt, subject: describedName)
    return (
      key: key == 0 ? nil : try reader.fieldType(key),
      value: value == 0 ? nil : try reader.fieldType(value)
    )
  }
}
