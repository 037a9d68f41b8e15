// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MmapStorage
import MmapStorageInspection
import SystemPackage

struct Layout: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the layout of a map's value, or compares it with another one.",
    discussion: """
      Exit status: 0 if there is nothing to compare or the layouts are equal, 1 if they differ or on an \
      error.
      """
  )

  @Argument(help: "An object file, or a pinned map.")
  var object: String

  @Argument(help: "The map's name in the object file. May be omitted if it has only one.")
  var map: String?

  @Option(help: "Another object file or pinned map to compare with.")
  var compare: String?

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let layout = try layout(of: object)
    if let compare {
      let other = try self.layout(of: compare)
      let difference = layout.difference(from: other, names: (left: object, right: compare))
      if json {
        try printLine(
          JSON.object([
            "equal": .bool(difference == nil),
            "layouts": .array([document(layout), document(other)]),
          ]).text()
        )
      } else {
        try printLine(difference ?? "The layouts are equal.")
      }
      if difference != nil { throw ExitCode(1) }
    } else if json {
      try printLine(document(layout).text())
    } else {
      var table = TextTable(header: ["OFFSET", "BYTES", "TYPE", "FIELD"])
      table.numbers = [0, 1]
      for row in rows(layout) {
        table.rows.append(["\(row.offset)", "\(row.size)", row.type, row.name])
      }
      table.rows.append(["\(layout.size)", "", "", "end of \(printable(layout.typeName))"])
      try table.print()
      try printEnumerations(layout)
    }
  }

  /// A line for each enumeration, with its constants.
  private func printEnumerations(_ layout: ValueLayout) throws {
    var printed: Set<String> = []
    for field in layout.fields where !field.enumerators.isEmpty {
      let type = String(printable(field.typeName).prefix { $0 != "(" && $0 != "[" })
      let constants = field.enumerators.map(\.description).joined(separator: ", ")
      let line = "\(type.last == " " ? String(type.dropLast()) : type): \(constants)"
      if printed.insert(line).inserted { try printLine(line) }
    }
  }

  private func layout(of argument: String) throws -> ValueLayout {
    if BPFFileSystem.contains(FilePath(argument)) {
      let map = try BPFMap(pinnedAt: FilePath(argument), readOnly: true)
      do {
        return try map.valueLayout()
      } catch {
        guard error.kind == .layoutUnavailable, error.errno == .notPermitted else { throw error }
        throw ToolError(
          "reading the layout of '\(argument)' from the kernel needs CAP_SYS_ADMIN; pass the object file "
            + "instead of the pin"
        )
      }
    }
    let object = try BPFObject(contentsOf: FilePath(argument))
    guard let name = map ?? (object.mapNames.count == 1 ? object.mapNames.first : nil) else {
      throw ToolError(
        "name a map of '\(argument)': " + object.mapNames.joined(separator: ", ")
      )
    }
    return try object.layout(ofMap: name)
  }

  private struct Row {
    var offset: Int
    var size: Int
    var type: String
    var name: String
    var enumerators: [FieldValue] = []
    var isPadding = false
  }

  /// The fields and the padding between them.
  private func rows(_ layout: ValueLayout) -> [Row] {
    var rows: [Row] = []
    var end = 0
    func pad(to offset: Int) {
      if offset > end {
        rows.append(
          Row(offset: end, size: offset - end, type: "", name: "(padding)", isPadding: true)
        )
      }
    }
    for field in layout.fields {
      pad(to: field.offset)
      rows.append(
        Row(
          offset: field.offset,
          size: field.size,
          type: printable(field.typeName),
          name: printable(field.name),
          enumerators: field.enumerators
        )
      )
      end = max(end, field.offset + field.size)
    }
    pad(to: layout.size)
    return rows
  }

  private func document(_ layout: ValueLayout) -> JSON {
    .object([
      "type": .string(layout.typeName),
      "size": .int(layout.size),
      "userPages": .bool(layout.hasUserPages),
      "fields": .array(
        rows(layout).map {
          .object([
            "name": .string($0.name), "offset": .int($0.offset), "size": .int($0.size),
            "type": .string($0.type), "padding": .bool($0.isPadding),
            "enumerators": .array($0.enumerators.map(JSON.init)),
          ])
        }
      ),
    ])
  }
}
