// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

/// The elements of a map with typed keys and values.
struct MapElements<Key: MapField, Value: MapField>: Sendable {
  let handle: MapHandle
  let maxEntries: Int
  /// The values of an element: the number of possible processors for a per-CPU map.
  let copies: Int
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
    let isPerCPU = [.perCPUHash, .perCPUArray, .lruPerCPUHash].contains(info.type)
    copies = isPerCPU ? try possibleProcessors() : 1
    maxEntries = info.maxEntries
    handle = try MapHandle(map, for: attempt)
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
      ).check()
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

  /// The kernel rounds each value of a per-CPU map up to eight bytes.
  private var stride: Int { (MemoryLayout<Value>.stride + 7) & ~7 }

  func values(of key: Key, _ attempt: @autoclosure () -> String) throws(BPFError) -> [Value]? {
    var bytes = [UInt8](repeating: 0, count: stride * copies)
    let error = unsafe withKey(key) { key in
      unsafe bytes.withUnsafeMutableBytes { bytes in
        unsafe bytes.baseAddress.flatMap { unsafe handle.lookup(key, into: $0) } ?? nil
      }
    }
    if error == .noSuchFileOrDirectory { return nil }
    if let error { throw failure(error, attempt()) }
    return (0..<copies).map { decode(bytes, at: $0 * stride) }
  }

  /// - Returns: Whether the condition held.
  func set(
    _ values: [Value],
    of key: Key,
    _ condition: UpdateCondition,
    _ attempt: @autoclosure () -> String
  ) throws(BPFError) -> Bool {
    precondition(values.count == copies, "a per-CPU map has a value for each possible processor")
    var bytes = [UInt8](repeating: 0, count: stride * copies)
    for (index, value) in values.enumerated() {
      unsafe withUnsafeBytes(of: value) { value in
        for offset in value.indices { unsafe bytes[index * stride + offset] = value[offset] }
      }
    }
    let error = unsafe withKey(key) { key in
      unsafe bytes.withUnsafeBytes { bytes in
        unsafe bytes.baseAddress.flatMap { unsafe handle.update(key, value: $0, condition) } ?? nil
      }
    }
    switch (error, condition) {
    case (nil, _): return true
    case (.fileExists?, .isAbsent), (.noSuchFileOrDirectory?, .exists): return false
    case (let error?, _): throw failure(error, attempt())
    }
  }

  func remove(_ key: Key, _ attempt: @autoclosure () -> String) throws(BPFError) -> Bool {
    let error = unsafe withKey(key) { unsafe handle.delete($0) }
    if error == .noSuchFileOrDirectory { return false }
    if let error { throw failure(error, attempt()) }
    return true
  }

  /// All keys. Ends after as many as the map may have, for a map whose keys change meanwhile.
  func keys() throws(BPFError) -> [Key] {
    var keys: [Key] = []
    var current = [UInt8](repeating: 0, count: MemoryLayout<Key>.stride)
    var isFirst = true
    while keys.count < maxEntries {
      var next = current
      let error: Errno? = unsafe next.withUnsafeMutableBytes { next in
        unsafe current.withUnsafeBytes { current in
          guard let target = next.baseAddress else { return nil }
          return unsafe handle.nextKey(after: isFirst ? nil : current.baseAddress, into: target)
        }
      }
      if error == .noSuchFileOrDirectory { break }
      if let error { throw failure(error, "find the keys") }
      keys.append(decode(next, at: 0))
      current = next
      isFirst = false
    }
    return keys
  }

  /// Lends the bytes of a key, with zeroes for its padding: the kernel compares all bytes.
  private func withKey<Result>(_ key: Key, _ body: (UnsafeRawPointer) -> Result) -> Result {
    unsafe withUnsafeTemporaryAllocation(byteCount: MemoryLayout<Key>.stride, alignment: 16) {
      copy in
      unsafe withUnsafeBytes(of: key) { key in
        unsafe copy.initializeMemory(as: UInt8.self, repeating: 0)
        for field in keyFields { for byte in field { unsafe copy[byte] = unsafe key[byte] } }
      }
      // An allocation has an address, as a key has at least a byte.
      return unsafe body(UnsafeRawPointer(copy.baseAddress.unsafelyUnwrapped))
    }
  }

  private func decode<Field: MapField>(_ bytes: [UInt8], at offset: Int) -> Field {
    unsafe bytes.withUnsafeBytes { bytes in
      let start = unsafe UnsafeMutableRawPointer(mutating: bytes.baseAddress.unsafelyUnwrapped)
      return unsafe FieldAddress(start + offset).loadWhole(as: Field.self)
    }
  }

  private func failure(_ error: Errno, _ attempt: String) -> BPFError {
    let advice: String? =
      switch error {
      case .argListTooLong: "the map is full; declare it with more max_entries"
      case .noMemory: "the kernel has no memory for the element"
      default: nil
      }
    return BPFError(errno: error, attempt: attempt, on: subject, advice: advice)
  }
}

extension BPFMap {
  /// The layouts of keys and values; nil for a part that was declared by its size alone.
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
