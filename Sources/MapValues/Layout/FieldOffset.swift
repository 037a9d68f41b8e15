// SPDX-License-Identifier: Apache-2.0

// Invariant: both buffers have the size of their type, and every byte is written before a value is
// read. Types that are not valid for all these bytes are refused first.
extension MemoryLayout {
  /// The offset in bytes of the field that `keyPath` names, from the start of `T`.
  ///
  /// For a stored property, the optimizer replaces this by a constant. The members of an anonymous
  /// C structure or union are imported as computed properties. Their offset is found at each call,
  /// by storing the field into a scratch value and comparing the bytes.
  ///
  /// - Precondition: The key path names a field: a stored property, or a member of an anonymous C
  ///   structure or union.
  @inlinable
  @inline(__always)
  package static func fieldOffset<Field>(of keyPath: KeyPath<T, Field>) -> Int {
    offset(of: keyPath) ?? probedFieldOffset(of: keyPath)
  }

  @usableFromInline
  static func probedFieldOffset<Field>(of keyPath: KeyPath<T, Field>) -> Int {
    guard let found = findFieldOffset(of: keyPath) else {
      preconditionFailure(
        "\(keyPath) is a computed property of \(T.self), not a field of it; a bit-field of a nested "
          + "structure is view.structure.field"
      )
    }
    return found
  }

  /// The offset of the field, or nil if `keyPath` is not a field's.
  package static func findFieldOffset<Field>(of keyPath: KeyPath<T, Field>) -> Int? {
    if let offset = offset(of: keyPath) { return offset }
    // A computed property may also interpret the bytes as a type that is not valid for all of them,
    // such as an enum.
    guard let writable = keyPath as? WritableKeyPath<T, Field>, MemoryLayout<Field>.size > 0,
      _isPOD(T.self), (try? booleansOfOpaque(Field.self)) != nil,
      let booleans = try? booleansOfOpaque(T.self)
    else { return nil }
    let field = UnsafeMutablePointer<Field>.allocate(capacity: 1)
    let value = UnsafeMutablePointer<T>.allocate(capacity: 1)
    defer {
      unsafe field.deallocate()
      unsafe value.deallocate()
    }
    let fieldBytes = unsafe UnsafeMutableRawBufferPointer(
      start: field,
      count: MemoryLayout<Field>.size
    )
    let valueBytes = unsafe UnsafeMutableRawBufferPointer(start: value, count: size)
    // Several passes, because a byte that is stored unchanged is not detected. The last pass finds
    // bit-fields, which do not change all bits of a byte.
    var changed = Set<Int>()
    for (background, foreground) in [(UInt8(0x00), UInt8(0x01)), (0x01, 0x00), (0xff, 0x00)] {
      unsafe fieldBytes.copyBytes(from: repeatElement(foreground, count: fieldBytes.count))
      unsafe valueBytes.copyBytes(from: repeatElement(background, count: valueBytes.count))
      for index in booleans { unsafe valueBytes[index] &= 1 }
      let before = unsafe Array(valueBytes)
      unsafe value.pointee[keyPath: writable] = field.pointee
      for index in 0..<valueBytes.count where unsafe valueBytes[index] != before[index] {
        guard unsafe valueBytes[index] == foreground else { return nil }
        changed.insert(index)
      }
    }
    guard let first = changed.min() else { return nil }
    // A copy of a structure may not copy its padding.
    var needed = [0..<fieldBytes.count]
    if changed.count != fieldBytes.count, let type = try? describe(Field.self) {
      needed = scalarRanges(of: type)
    }
    let isField = needed.joined().allSatisfy { changed.contains(first + $0) }
    return isField && changed.allSatisfy { $0 - first < fieldBytes.count } ? first : nil
  }
}
