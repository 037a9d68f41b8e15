// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// How a map was declared with `mmap_storage.bpf.h`.
///
/// The header declares a structure type with its own name for each map, which the object's type
/// information contains. A map that is declared in any other way has no declaration.
enum StorageDeclaration {
  /// `TASK_STORAGE`: the value is in the map, or in a user page.
  case any
  /// `TASK_STORAGE_DIRECT`: the value is in the map.
  case direct
  /// `TASK_STORAGE_USER_PAGE`: the value is in a user page.
  case userPage

  /// The largest value in a user page: `TASK_STORAGE_PAGE_SIZE` in the header.
  static let pageSize = 4096

  private static let prefixes: [(String, StorageDeclaration)] = [
    ("__task_storage_any_", .any), ("__task_storage_direct_", .direct),
    ("__task_storage_only_page_", .userPage),
  ]

  /// Reads the declarations of an object's maps, by name.
  static func all(in object: BPFObject) throws(BPFError) -> [String: StorageDeclaration] {
    guard let btf = object.btf else { return [:] }
    var found: [String: StorageDeclaration] = [:]
    for variable in try btf.variables(ofSection: ".maps") {
      let type = try btf.strippingQualifiers(variable.type).name
      for (prefix, declaration) in prefixes where type == prefix + variable.name {
        found[variable.name] = declaration
      }
    }
    return found
  }

  /// The type of an element whose value is in a user page.
  static func elementType(of map: String) -> String { "__task_storage_element_" + map }

  /// The read-only variable that selects where programs find a map's values.
  static func placementVariable(of map: String) -> String { "__task_storage_placement_" + map }
}
