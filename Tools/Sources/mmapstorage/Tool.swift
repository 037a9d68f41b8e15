// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MmapStorage
import SystemPackage

@main
struct Tool: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mmapstorage",
    abstract: "Inspects BPF task storage: features of the machine, and the values of all threads.",
    discussion: """
      Exit status: 0 for success, 1 for an error or if 'layout' found differences, 64 for wrong arguments. \
      'doctor' has other exit statuses.
      """,
    subcommands: [Doctor.self, Maps.self, Dump.self, Watch.self, Layout.self]
  )

  static func main() {
    do {
      try checkStandardOutput()
    } catch {
      exit(withError: error)
    }
    main(nil)
  }
}

extension BPFMap {
  /// Opens the map of an argument: a path of a pin, an id, or the name of a task storage map.
  static func named(_ argument: String) throws -> BPFMap {
    if argument.contains("/") { return try BPFMap(pinnedAt: FilePath(argument), readOnly: true) }
    if let id = UInt32(argument) { return try BPFMap(id: id, readOnly: true) }
    // The kernel keeps 15 bytes of a name.
    let name = String(decoding: argument.utf8.prefix(15), as: UTF8.self)
    let found = try allTaskStorage().filter { $0.name == name }
    guard let map = found.first else {
      throw ToolError(
        "no task storage map has the name '\(argument)'; 'mmapstorage maps' lists them"
      )
    }
    guard found.count == 1 else {
      let ids = found.compactMap { try? $0.info.id }.map(String.init).joined(separator: ", ")
      throw ToolError("\(found.count) maps have the name '\(argument)'; pass one of the ids \(ids)")
    }
    return map
  }

  /// All task storage maps of the machine, read-only.
  static func allTaskStorage() throws -> [BPFMap] {
    try BPFMap.ids().compactMap { id in
      // A map may be freed while its id is in the list.
      guard let map = try? BPFMap(id: id, readOnly: true), try map.info.type == .taskStorage else {
        return nil
      }
      return map
    }
  }
}

struct ToolError: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}
