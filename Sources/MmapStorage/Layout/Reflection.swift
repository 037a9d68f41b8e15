internal import LibBPF

/// A stored property as reflection shows it, with its place found by measuring.
struct StoredProperty {
  var name: String
  var type: Any.Type
  var offset: Int
  var size: Int
  var alignment: Int

  var range: Range<Int> { offset..<offset + size }
}

/// Describes any type that may stand in a value: what conforms to ``MapField``, and by reflection
/// structures, homogeneous tuples, inline arrays and wrapped numbers that do not conform.
///
/// The type is plain bytes: whoever asks has checked the structure that it stands in.
func describe<T>(_ type: T.Type) throws(BPFError) -> FieldType {
  if let field = type as? any MapField.Type {
    return try field.fieldType()
  }
  if let array = type as? any InlineArrayType.Type {
    return .array(of: try describe(array.elementType), count: array.elementCount)
  }
  if type is any PointerType.Type {
    throw .undescribed(
      "type \(type)",
      "a pointer means nothing on the other side; use UInt64 on both, or declare the field with "
        + "Field.opaque"
    )
  }
  switch (type is any CustomReflectable.Type, displayStyle(of: type)) {
  case (false, .struct):
    return try describeStructure(type)
  case (false, .tuple):
    return try describeTuple(type)
  case (false, .enum):
    throw .undescribed(
      "type \(type)",
      "a Swift enum cannot be a field, because the program may write a number that is none of its "
        + "cases; use a structure with 'var rawValue' that conforms to MapScalar"
    )
  default:
    throw .undescribed(
      "type \(type)",
      "it is not a type that stands in a map's value; use integers, Float, Double, Bool, "
        + "InlineArray, or structures of those"
    )
  }
}

/// For an error that says more about pointers than that they cannot be described.
private protocol PointerType {}

extension UnsafeRawPointer: PointerType {}
extension UnsafeMutableRawPointer: PointerType {}
extension UnsafePointer: PointerType {}
extension UnsafeMutablePointer: PointerType {}
extension OpaquePointer: PointerType {}
extension Optional: PointerType where Wrapped: PointerType {}

/// The stored properties of a structure or the elements of a tuple, in order of declaration, those
/// without bytes left out. Empty where there is nothing to reflect.
///
/// Offsets are measured, so that packed C structures come out right as well: byte *i* of a scratch
/// value holds one bit of *i*, and each property's bytes show which they are, bit by bit.
func storedProperties<T>(of type: T.Type) -> [StoredProperty] {
  guard _isPOD(type), !(type is any CustomReflectable.Type) else { return [] }
  let size = MemoryLayout<T>.size
  let scratch = UnsafeMutablePointer<T>.allocate(capacity: 1)
  defer { scratch.deallocate() }
  let bytes = UnsafeMutableRawBufferPointer(start: scratch, count: size)
  var properties: [StoredProperty] = []
  var places: [[Int]] = []
  for bit in 0..<Int.bitWidth - size.leadingZeroBitCount {
    for index in 0..<size { bytes[index] = UInt8((index >> bit) & 1) }
    let children = Mirror(reflecting: scratch.pointee).children
    for (index, child) in children.enumerated() {
      let (childBytes, alignment) = rawBytes(of: child.value)
      if bit == 0 {
        properties.append(
          StoredProperty(
            name: child.label ?? "",
            type: Swift.type(of: child.value),
            offset: 0,
            size: childBytes.count,
            alignment: alignment
          )
        )
        places.append([Int](repeating: 0, count: childBytes.count))
      }
      for (place, byte) in childBytes.enumerated() { places[index][place] |= Int(byte) << bit }
    }
  }
  for index in properties.indices {
    properties[index].offset = places[index].first ?? 0
  }
  return properties.indices
    .filter { !places[$0].isEmpty && places[$0].elementsEqual(properties[$0].range) }
    .map { properties[$0] }
}

private func rawBytes<T>(of value: T) -> (bytes: [UInt8], alignment: Int) {
  (withUnsafeBytes(of: value) { [UInt8]($0) }, MemoryLayout<T>.alignment)
}

/// How Swift sees the type: as a structure, an enumeration, a tuple. The type is plain bytes.
func displayStyle<T>(of type: T.Type) -> Mirror.DisplayStyle? {
  withZeroes(of: type) { Mirror(reflecting: $0).displayStyle }
}

private func withZeroes<T, Result>(of type: T.Type, _ body: (T) -> Result) -> Result {
  let scratch = UnsafeMutablePointer<T>.allocate(capacity: 1)
  defer { scratch.deallocate() }
  UnsafeMutableRawBufferPointer(start: scratch, count: MemoryLayout<T>.size)
    .initializeMemory(as: UInt8.self, repeating: 0)
  return body(scratch.pointee)
}

private func describeTuple<T>(_ type: T.Type) throws(BPFError) -> FieldType {
  let elements = storedProperties(of: type)
  guard let first = elements.first, elements.allSatisfy({ $0.type == first.type }) else {
    throw .undescribed(
      "type \(type)",
      "only a tuple of equal elements stands for a C array; use a structure for different ones"
    )
  }
  return .array(of: try describe(first.type), count: elements.count)
}

/// What reflection found: the same again for as long as the process runs, and slow to find.
private enum Described {
  private static let lock = ForkSafeLock()
  private nonisolated(unsafe) static var structures: [ObjectIdentifier: FieldType] = [:]

  static subscript(type: Any.Type) -> FieldType? {
    get { lock.withLockIfFree { structures[ObjectIdentifier(type)] } ?? nil }
    set { _ = lock.withLockIfFree { structures[ObjectIdentifier(type)] = newValue } }
  }
}

/// A structure by reflection, if what reflection shows accounts for every byte.
func describeStructure<T>(_ type: T.Type) throws(BPFError) -> FieldType {
  if let known = Described[type] { return known }
  let found = try reflectStructure(type)
  Described[type] = found
  return found
}

private func reflectStructure<T>(_ type: T.Type) throws(BPFError) -> FieldType {
  guard _isPOD(type) else {
    throw .undescribed(
      "type \(type)",
      "it holds references; a map's value is plain bytes of a fixed size"
    )
  }
  let properties = storedProperties(of: type)
  if let wrapped = wrappedScalar(in: type, properties) {
    return try wrapped.fieldType()
  }
  if let gap = firstGap(
    in: type,
    covered: properties.map { ($0.range, $0.alignment) },
    holes: []
  ) {
    throw .undescribed(
      "type \(type)",
      "bytes \(gap.lowerBound) to \(gap.upperBound - 1) belong to no property that reflection "
        + "shows (a C union, an anonymous C structure and a bit-field are not shown); declare the "
        + "fields with key paths in 'static var fields: Fields<Self>'"
    )
  }
  var members: [CompositeLayout.Member] = []
  for property in properties {
    let member = try naming("field '\(property.name)' of type \(type)") {
      () throws(BPFError) in try describe(property.type)
    }
    members.append(.init(name: property.name, offset: property.offset, type: member))
  }
  return .structure(
    CompositeLayout(name: "\(type)", size: MemoryLayout<T>.stride, members: members)
  )
}

/// The number in a structure whose only property is `rawValue`, as in a C enumeration or an option
/// set. The conformance to `RawRepresentable` cannot be asked for: that of an imported enumeration is
/// only there at run time if some code uses it.
private func wrappedScalar<T>(
  in type: T.Type,
  _ properties: [StoredProperty]
) -> (any MapScalar.Type)? {
  guard properties.count == 1, properties[0].name == "rawValue",
    properties[0].size == MemoryLayout<T>.size
  else { return nil }
  return properties[0].type as? any MapScalar.Type
}

/// Puts the field in front of the type in an error from describing the field's type.
func naming<Result>(
  _ field: String,
  _ body: () throws(BPFError) -> Result
) throws(BPFError) -> Result {
  do {
    return try body()
  } catch {
    var error = error
    error.object = "\(field): \(error.object)"
    throw error
  }
}

/// The first bytes of `T` that nothing covers and that alignment does not explain.
///
/// A hole before a field is explained if it ends at the next boundary of the field's alignment, and
/// one at the end if it ends at the next boundary of the structure's.
func firstGap<T>(
  in type: T.Type,
  covered: [(range: Range<Int>, alignment: Int)],
  holes: [Range<Int>]
) -> Range<Int>? {
  let size = MemoryLayout<T>.size
  var isCovered = [Bool](repeating: false, count: size)
  for range in covered.map(\.range) + holes {
    for byte in range.clamped(to: 0..<size) { isCovered[byte] = true }
  }
  var start = 0
  while let from = isCovered[start...].firstIndex(of: false) {
    let end = isCovered[from...].firstIndex(of: true) ?? size
    var alignments = covered.filter { $0.range.lowerBound == end }.map(\.alignment)
    if end == size { alignments.append(MemoryLayout<T>.alignment) }
    guard alignments.contains(where: { (from + $0 - 1) / $0 * $0 == end }) else {
      return from..<end
    }
    start = end
  }
  return nil
}
