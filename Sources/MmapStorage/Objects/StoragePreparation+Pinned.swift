// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

extension StoragePreparation {
  /// Whether the elements of a pinned map point to user pages, as those of this object's map do.
  func isInUserPages(pinned map: BPFMap, of object: BPFObject) throws(BPFError) -> Bool {
    let info = try map.info
    guard info.type == .taskStorage, info.valueSize == MemoryLayout<UInt64>.size else {
      return false
    }
    if let layout = try? map.valueLayout() { return layout.isInUserPage }
    // The process may not read type information.
    if let place = outcome.withLock({ $0.pinnedPlaces[info.id] }) { return place }
    // The map has the ids of the object that created it.
    return object.mapNames.contains {
      let element = object.btf?.structure(named: StorageDeclaration.elementType(of: $0))
      return element != nil && element == info.btfValueTypeID
    }
  }

  func description(
    ofValuesIn map: DeclaredMap,
    of object: BPFObject
  ) throws(BPFError) -> String {
    ValueDescription(of: map, in: object)?.text ?? ""
  }

  func difference(
    of pinned: BPFMap,
    describedAs description: String?,
    from declared: DeclaredMap,
    in object: BPFObject
  ) throws(BPFError) -> String? {
    let info = try pinned.info
    let described = description.flatMap { ValueDescription($0) }
    let isSameLayout = described?.digest == ValueDescription(of: declared, in: object)?.digest
    guard declared.type == .taskStorage, declared.valueTypeID != 0 else {
      return declared.difference(of: info)
        ?? (described == nil || isSameLayout
          ? nil : "map '\(declared.name)': the layouts of keys or values differ")
    }
    if let difference = declared.difference(of: info, comparingValueSize: false) {
      return difference
    }
    if let described { outcome.withLock { $0.pinnedPlaces[info.id] = described.isInUserPage } }
    let isInUserPages = try isInUserPages(pinned: pinned, of: object)
    let layout = try? pinned.valueLayout()
    guard layout != nil || described != nil else {
      return isInUserPages ? nil : declared.difference(of: info)
    }
    // Compared as values, because only one of the two may have them in user pages.
    let expected = try object.layout(ofMap: declared.name)
    let isPlaceable: Bool =
      switch try StorageDeclaration.all(in: object)[declared.name] {
      case .any: true
      case .userPage: isInUserPages
      case .direct, nil: isInUserPages == expected.isInUserPage
      }
    guard isPlaceable else {
      return "map '\(declared.name)': the values of the pinned map are "
        + (isInUserPages ? "in user pages" : "in the map") + ", those of the declared one are not"
    }
    guard let layout else {
      return isSameLayout
        ? nil : "map '\(declared.name)': the layouts differ; details need CAP_SYS_ADMIN"
    }
    return layout.differences(
      from: expected,
      leftName: "pinned map \(declared.name)",
      rightName: "object \(object.name)"
    ).map { "map '\(declared.name)': the layouts differ\n\($0)" }
  }
}
