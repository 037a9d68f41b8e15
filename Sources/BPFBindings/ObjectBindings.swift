// SPDX-License-Identifier: Apache-2.0
public import LibBPF

/// Options for the Swift code of one object.
public struct BindingOptions: Sendable {
  /// The name of the source file, without `.bpf.c`.
  public var name: String
  /// The name of the image, `BPFObjectImage.identifier`.
  public var identifier: String
  /// The name of the type.
  public var typeName: String
  /// Whether the declarations are public.
  public var isPublic: Bool

  /// Creates options.
  public init(name: String, identifier: String, typeName: String, isPublic: Bool = false) {
    self.name = name
    self.identifier = identifier
    self.typeName = typeName
    self.isPublic = isPublic
  }
}

/// Returns the Swift code for an object: types, maps, global variables and programs.
///
/// The result depends only on the arguments.
///
/// - Throws: ``BindingError`` with what to change in the C file, or `BPFError` if the object's type
///   information is damaged.
public func bindings(for object: BPFObject, options: BindingOptions) throws -> String {
  guard let btf = object.btf else {
    throw BindingError(
      "the object has no type information; the source declares nothing, or was "
        + "compiled without -g"
    )
  }
  var facts = ObjectFacts(object: object, table: TypeTable(btf: btf))
  try facts.read()
  let types = TypeWriter(
    table: facts.table,
    objectName: options.typeName,
    isPublic: options.isPublic
  )
  var owners: [(type: CType, name: String)] = []
  for map in facts.maps {
    for type in map.types {
      try types.checkSize(of: type, of: "an element of map", map.name)
      owners.append((type, map.name))
    }
  }
  for variable in facts.variables {
    try types.checkSize(of: variable.type, of: "global variable", variable.name)
    owners.append((variable.type, variable.name))
  }
  try types.name(owners)
  try types.nameTypedefs()
  return try ObjectWriter(facts: facts, types: types, options: options).text()
}
