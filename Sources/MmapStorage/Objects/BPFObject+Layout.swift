// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

extension BPFObject {
  /// Returns the layout of a map's value, from the object's type information.
  ///
  /// Needs no privileges, and the object need not be loaded. A process that received a map's descriptor, or
  /// opened a pin, passes the layout to ``TaskLocalStorage/init(map:policy:layout:allowing:)``.
  ///
  /// - Throws: ``BPFError/Kind/notFound``; ``BPFError/Kind/layoutUnavailable`` if the object was
  ///   compiled without `-g`, or the map declares no value type; ``BPFError/Kind/invalidObject`` if
  ///   the type information is damaged.
  public func layout(ofMap name: String) throws(BPFError) -> ValueLayout {
    let attempt = "read the value layout"
    let map = try declaredMap(name, attempt: "\(attempt) of map '\(name)'")
    let subject = "map '\(name)' of object '\(self.name)'"
    guard map.valueTypeID != 0, let btf else {
      throw BPFError(
        .layoutUnavailable,
        attempt: attempt,
        on: subject,
        advice: "declare the value with __type(value, struct …) and compile with -g"
      )
    }
    var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
    var layout = try reader.valueLayout(ofType: map.valueTypeID, size: map.valueSize)
    let preparation = self.preparation as? StoragePreparation
    if preparation?.isInUserPages(name) == true { layout.isInUserPage = true }
    layout.userPageTypeID = btf.structure(named: StorageDeclaration.elementType(of: name))
    return layout
  }
}

extension BPFMap {
  /// Returns the layout of the map's value.
  ///
  /// For a map of an object, this is the layout of the object file. For other maps, the layout is read from
  /// the kernel, which needs CAP_SYS_ADMIN and costs about ten system calls.
  ///
  /// - Throws: ``BPFError/Kind/layoutUnavailable`` if the map has no type information, or this
  ///   process may not read it; ``BPFError/Kind/invalidObject`` if it is damaged;
  ///   ``BPFError/Kind/wrongState`` after ``close()``.
  public func valueLayout() throws(BPFError) -> ValueLayout {
    if let object { return try object.layout(ofMap: name) }
    let types = try kernelTypes()
    var reader = BTFReader(
      btf: types.btf,
      attempt: "read the value layout",
      subject: describedName
    )
    return try reader.valueLayout(ofType: types.value, size: info.valueSize)
  }
}

extension BTF {
  /// The layout of a map's value of type `id`; `size` is the map's own value size.
  package func valueLayout(ofType id: UInt32, size: Int) throws(BPFError) -> ValueLayout {
    var reader = BTFReader(btf: self, attempt: "read the value layout", subject: "type \(id)")
    return try reader.valueLayout(ofType: id, size: size)
  }

  /// A type as a field of a value.
  package func fieldType(_ id: UInt32) throws(BPFError) -> FieldType {
    var reader = BTFReader(btf: self, attempt: "read the type", subject: "type \(id)")
    return try reader.fieldType(id)
  }
}
