// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

// Invariant: pointers are described and never followed.

/// Describes a type that may be in a map's value: scalars, `InlineArray`, homogeneous tuples, and
/// structures of those, whether or not the structures conform to ``MapValue``.
///
/// Every bit pattern is a valid value of a type that can be described, provided that each `Bool` in
/// it is 0 or 1. The views rely on this when they load whole values.
func describe(_ type: Any.Type) throws(BPFError) -> FieldType {
  guard isPlainBytes(type) else {
    throw .undescribed(
      "type \(type)",
      "it holds references; a map's value is plain bytes of a fixed size"
    )
  }
  if let scalar = type as? any StandardScalar.Type { return scalar.scalarType }
  if let scalar = type as? any MapScalar.Type { return try describeWrapper(scalar) }
  if let array = type as? any InlineArrayType.Type {
    return .array(of: try describe(array.elementType), count: array.elementCount)
  }
  if let value = type as? any MapValue.Type { return try describeValue(value) }
  if type is any PointerType.Type {
    throw .undescribed(
      "type \(type)",
      "a pointer has no meaning on the other side; use UInt64 on both sides, or declare the field "
        + "with Field.opaque"
    )
  }
  switch (type is any CustomReflectable.Type, typeKind(of: type)) {
  case (false, .structure):
    return try describeStructure(type)
  case (false, .tuple):
    return try describeTuple(type)
  case (_, .enumeration):
    throw .undescribed(
      "type \(type)",
      "a Swift enum cannot be a field, because the program may store a number that is none of its "
        + "cases; use a structure with 'var rawValue' that conforms to MapScalar"
    )
  default:
    throw .undescribed(
      "type \(type)",
      "it cannot be part of a map's value; use integers, Float, Double, Bool, InlineArray, or "
        + "structures of those"
    )
  }
}

/// Pointer types. They cannot be described, but may be declared opaque.
protocol PointerType {}

extension UnsafeRawPointer: @unsafe PointerType {}
extension UnsafeMutableRawPointer: @unsafe PointerType {}
extension UnsafePointer: @unsafe PointerType {}
extension UnsafeMutablePointer: @unsafe PointerType {}
extension OpaquePointer: @unsafe PointerType {}
extension Unmanaged: @unsafe PointerType {}
extension Optional: PointerType where Wrapped: PointerType {}

/// Describes a scalar that is not one of the standard library's, by its only stored property.
private func describeWrapper<Wrapper: MapScalar>(
  _ type: Wrapper.Type
) throws(BPFError) -> FieldType {
  let properties = storedProperties(of: type)
  guard properties.count == 1, properties[0].size == MemoryLayout<Wrapper>.size,
    let wrapped = try? describe(properties[0].type), wrapped.isScalar
  else {
    throw .undescribed(
      "type \(type)",
      typeKind(of: type) == .enumeration
        ? "a Swift enum does not store its raw value as it is, and the program may store a number "
          + "that is none of its cases; use a structure with 'var rawValue'"
        : "a MapScalar stores one property, which is a scalar, such as 'var rawValue: UInt32'; conform "
          + "structures to MapValue instead"
    )
  }
  return wrapped
}

private func describeValue<Value: MapValue>(_ type: Value.Type) throws(BPFError) -> FieldType {
  let fields = Value.fields
  let description = try fields.description()
  noteUnionBooleans(in: type, described: description)
  if !fields.isGenerated, let field = description.misalignedScalar() {
    throw .undescribed(
      "field '\(field.path)' of type \(type)",
      "it is at byte \(field.offset), which is not a multiple of its \(field.size) bytes, so that "
        + "no single load or store reaches it; align it on both sides, or declare it with "
        + "Field.opaque"
    )
  }
  return description
}

/// Describes a structure whose stored properties cover all of its bytes.
func describeStructure(_ type: Any.Type) throws(BPFError) -> FieldType {
  let properties = storedProperties(of: type)
  let (size, alignment) = sizeAndAlignment(of: type)
  var coverage = Coverage(size: size, alignment: alignment)
  for property in properties { coverage.add(property.range, alignment: property.alignment) }
  if let gap = coverage.firstGap() {
    throw .undescribed(
      "type \(type)",
      "bytes \(gap.lowerBound) to \(gap.upperBound - 1) belong to no property that reflection "
        + "shows; declare the fields in 'static var fields: Fields<Self>', with key paths to the "
        + "members of a C union or an anonymous C structure, and with "
        + "Field.padding(bytes: \(gap.lowerBound)..<\(gap.upperBound)) if C has padding or an "
        + "unnamed bit-field there"
    )
  }
  var members: [CompositeLayout.Member] = []
  members.reserveCapacity(properties.count)
  for property in properties {
    let member = try naming("field '\(property.name)' of type \(type)") {
      () throws(BPFError) in try describe(property.type)
    }
    members.append(.init(name: property.name, offset: property.offset, type: member))
  }
  let stride = max((size + alignment - 1) / alignment * alignment, 1)
  return .structure(CompositeLayout(name: "\(type)", size: stride, members: members))
}

private func describeTuple(_ type: Any.Type) throws(BPFError) -> FieldType {
  let elements = storedProperties(of: type)
  guard let first = elements.first, elements.allSatisfy({ $0.type == first.type }) else {
    throw .undescribed(
      "type \(type)",
      "only a tuple of equal elements stands for a C array; use a structure for different ones"
    )
  }
  return .array(of: try describe(first.type), count: elements.count)
}

/// Returns the offsets of the `Bool`s in a type whose bytes are declared opaque.
///
/// - Throws: If some bit patterns are not valid values of the type, as for a Swift `enum` or a
///   reference.
func booleansOfOpaque(_ type: Any.Type) throws(BPFError) -> [Int] {
  if type is Bool.Type { return [0] }
  if type is any StandardScalar.Type || type is any PointerType.Type { return [] }
  if let array = type as? any InlineArrayType.Type {
    let inElement = try booleansOfOpaque(array.elementType)
    guard !inElement.isEmpty else { return [] }
    let (size, alignment) = sizeAndAlignment(of: array.elementType)
    let stride = (size + alignment - 1) / alignment * alignment
    return (0..<array.elementCount).flatMap { index in inElement.map { index * stride + $0 } }
  }
  switch typeKind(of: type) {
  case .structure, .tuple:
    guard isPlainBytes(type) else { break }
    var offsets: [Int] = []
    for property in storedProperties(of: type) {
      offsets += try booleansOfOpaque(property.type).map { property.offset + $0 }
    }
    return offsets
  case .enumeration, .other:
    // Builtin types inside of the standard library's structures are plain bytes.
    if isBuiltin(type) { return [] }
  }
  throw .undescribed(
    "type \(type)",
    "it cannot be opaque, because not all bytes that the program may store are valid for it; use "
      + "integers"
  )
}

private func isBuiltin(_ type: Any.Type) -> Bool {
  _typeName(type, qualified: true).hasPrefix("Builtin.")
}

/// Adds the field to an error from describing its type.
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
