// SPDX-License-Identifier: Apache-2.0
import SystemPackage

/// Information about a pinned map or program that the kernel does not provide, or only with
/// CAP_SYS_ADMIN. It is the target of a symbolic link below ``BPFPinDirectory/descriptions``.
struct PinDescription: Hashable {
  /// The kernel's id of the map or program that is described.
  var id: UInt32
  /// For a program, the uses of maps in its instructions. For a section, its variables. For other
  /// maps, the layouts of keys and values, if the object has type information.
  var digest: String
  /// The program's section, which names its hook; empty for a map.
  var section = ""

  init(id: UInt32, digest: String, section: String = "") {
    self.id = id
    self.digest = digest
    self.section = section
  }

  /// Reads the information; `nil` if there is none.
  init?(_ path: FilePath) {
    let parts = path.linkTarget?.split(
      separator: " ",
      maxSplits: 2,
      omittingEmptySubsequences: false
    )
    guard let parts, parts.count == 3, let id = UInt32(parts[0]) else { return nil }
    self.init(id: id, digest: String(parts[1]), section: String(parts[2]))
  }

  /// The same; `nil` if it describes another map or program than `id`.
  init?(_ path: FilePath, of id: UInt32) {
    self.init(path)
    guard self.id == id else { return nil }
  }

  /// Writes the information.
  func write(_ path: FilePath) throws(BPFError) {
    let code = path.createLink(to: "\(id) \(digest) \(section)")
    guard code == 0 else {
      throw BPFError(code: code, attempt: "describe a pin", on: "path '\(path)'")
    }
  }
}

extension BPFObject {
  /// Describes a loaded program. The kernel's tag does not depend on which instruction uses which
  /// map, on the offsets of global variables, or on the hook.
  func description(ofProgram name: String) throws(BPFError) -> PinDescription {
    let attempt = "describe program '\(name)'"
    let id = try program(name).loaded().info.id
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      let program = try findProgram(name, in: object, attempt: attempt)
      var names: [CInt: String] = [:]
      for (map, declared) in zip(object.maps, declaredMaps) {
        names[map.descriptor] = declared.name
      }
      var digest = Digest()
      for use in program.mapUses {
        digest.add(use.position)
        digest.add(names[use.descriptor] ?? "")
        digest.add(use.offset.map { Int64($0) } ?? -1)
      }
      return PinDescription(id: id, digest: digest.hexadecimal, section: program.section)
    }
  }

  /// Describes the variables of the section whose map has this id.
  func description(ofSection map: DeclaredMap, id: UInt32) throws(BPFError) -> PinDescription {
    var digest = Digest()
    // The map's name is the object's name followed by the section's, or the section's name.
    if let btf, let dot = map.name.firstIndex(of: ".") {
      for variable in try btf.variables(ofSection: String(map.name[dot...])) {
        digest.add(variable.name)
        digest.add(variable.offset)
        digest.add(variable.size)
        try btf.add(variable.type, to: &digest)
      }
    }
    return PinDescription(id: id, digest: digest.hexadecimal)
  }
}

extension BTF {
  /// Adds the types of the value's fields. Does not follow pointers.
  fileprivate func add(
    _ id: UInt32,
    to digest: inout Digest,
    depth: Int = 0
  ) throws(BPFError) {
    // The kernel's limit.
    guard depth < 32 else { throw malformed("type \(id) is nested too deeply") }
    let type = try strippingQualifiers(id)
    digest.add(type.kind?.rawValue ?? .max)
    digest.add(type.size)
    digest.add(type.count)
    digest.add(type.isSigned ? 1 : 0)
    switch type.kind {
    case .array: try add(type.referencedType, to: &digest, depth: depth + 1)
    case .structure, .union:
      for index in 0..<type.count {
        let member = try member(index, of: type.id)
        digest.add(member.name)
        digest.add(member.bitOffset)
        digest.add(member.bitSize)
        try add(member.type, to: &digest, depth: depth + 1)
      }
    default: break
    }
  }
}
