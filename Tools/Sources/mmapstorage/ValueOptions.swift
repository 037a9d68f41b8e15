// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MmapStorage
import MmapStorageInspection
import SystemPackage

/// The options of `dump` and `watch`.
struct ValueOptions: ParsableArguments {
  @Argument(help: "A task storage map: the path of a pin, an id, or a name.")
  var map: String

  @Option(help: "Only processes with this id or name. May be repeated.")
  var process: [String] = []

  @Option(help: "Only threads with this id or name. May be repeated.")
  var thread: [String] = []

  @Option(help: "Only the field with this name, and its members (NAME.…). May be repeated.")
  var field: [String] = []

  @Option(help: "Sort by this field, the largest value first. Default: by process and thread.")
  var sort: String?

  @Option(help: "An object file with the layout. Default: from the kernel (CAP_SYS_ADMIN).")
  var object: String?

  func makeReader() throws -> (TaskStorageReader, [ValueLayout.Field]) {
    let map = try BPFMap.named(map)
    let layout = try object.map { path in
      let object = try BPFObject(contentsOf: FilePath(path))
      // The kernel keeps 15 bytes of a name.
      let names = object.mapNames.filter { $0.utf8.prefix(15).elementsEqual(map.name.utf8) }
      return try object.layout(ofMap: names.count == 1 ? names[0] : map.name)
    }
    let reader: TaskStorageReader
    do {
      reader = try TaskStorageReader(map: map, layout: layout)
    } catch {
      guard error.kind == .layoutUnavailable, error.errno == .notPermitted else { throw error }
      throw ToolError(
        "reading the layout of '\(self.map)' from the kernel needs CAP_SYS_ADMIN; name the object file "
          + "with --object"
      )
    }
    let all = reader.layout.fields
    let chosen = all.filter { one in
      field.isEmpty || field.contains { one.name == $0 || one.name.hasPrefix($0 + ".") }
    }
    let names = all.map(\.name).joined(separator: ", ")
    for name in field
    where !all.contains(where: { $0.name == name || $0.name.hasPrefix(name + ".") }) {
      throw ToolError("the value has no field '\(name)'; its fields are \(names)")
    }
    if let sort, !all.contains(where: { $0.name == sort }) {
      throw ToolError("cannot sort by '\(sort)', which is not one of the fields \(names)")
    }
    return (reader, chosen)
  }

  /// Reads, filters and sorts the values.
  func values(_ reader: TaskStorageReader) throws -> [TaskValue<[UInt8]>] {
    let values = try reader.values().filter { value in
      let task = value.task
      return
        (process.isEmpty
        || process.contains { $0 == "\(task.processID)" || $0 == task.processName })
        && (thread.isEmpty || thread.contains { $0 == "\(task.thread)" || $0 == task.threadName })
    }
    guard let sort, let field = reader.layout.fields.first(where: { $0.name == sort }) else {
      return values.sorted {
        ($0.task.processID, $0.task.thread.rawValue) < ($1.task.processID, $1.task.thread.rawValue)
      }
    }
    return values.sorted { SortKey(field.value(in: $0.value)) > SortKey(field.value(in: $1.value)) }
  }
}

/// Orders numbers by value and everything else as text.
private struct SortKey: Comparable {
  var number: Double
  var text: String

  init(_ value: FieldValue) {
    text = value.description
    number =
      switch value {
      case .signed(let number), .enumeration(_, .signed(let number)): Double(number)
      case .unsigned(let number), .enumeration(_, .unsigned(let number)): Double(number)
      case .floatingPoint(let number): number
      default: -.infinity
      }
  }

  static func < (one: SortKey, other: SortKey) -> Bool {
    (one.number, one.text) < (other.number, other.text)
  }
}

extension FieldValue {
  /// The value for a table: long arrays are truncated.
  var cell: String {
    guard case .array(let elements) = self, elements.count > 8 else { return description }
    let first = elements.prefix(8).map(\.description).joined(separator: ", ")
    return "[\(first), … \(elements.count) in all]"
  }
}

extension TextTable {
  /// A table of values with a column for each field. `changed` contains the cells to mark.
  init(
    _ values: [TaskValue<[UInt8]>],
    _ fields: [ValueLayout.Field],
    changed: (TaskValue<[UInt8]>, ValueLayout.Field) -> Bool = { _, _ in false }
  ) {
    self.init(header: ["PROCESS", "PID", "THREAD", "TID"] + fields.map(\.name))
    numbers = [1, 3]
    for (index, field) in fields.enumerated()
    where !field.typeName.hasSuffix("]") && field.enumerators.isEmpty {
      numbers.insert(4 + index)
    }
    rows = values.map { value in
      let task = value.task
      return [
        printable(task.processName), "\(task.processID)", printable(task.threadName),
        "\(task.thread)",
      ] + fields.map { (changed(value, $0) ? "*" : "") + $0.value(in: value.value).cell }
    }
  }
}
