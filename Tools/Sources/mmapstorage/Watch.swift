// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import MmapStorage
import MmapStorageInspection

struct Watch: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the values of a map periodically, and marks changed fields.",
    discussion: """
      In a terminal, updates the table in place and marks fields that changed since the last reading with '*'. \
      In a pipe, and with --json, prints a line for each value that is new or has changed.
      """
  )

  @OptionGroup var options: ValueOptions

  @Option(help: "Seconds between two readings.")
  var interval = 1.0

  @Option(help: "End after this many readings.")
  var count: Int?

  @Flag(help: "Print a JSON object on a line for each value that is new or has changed.")
  var json = false

  func validate() throws {
    guard interval >= 0.01, interval <= 86_400 else {
      throw ValidationError("--interval is 0.01 to 86400 seconds")
    }
    if let count, count < 1 { throw ValidationError("--count is 1 or more") }
  }

  func run() throws {
    let (reader, fields) = try options.makeReader()
    let redraws = isatty(STDOUT_FILENO) == 1 && !json
    var last: [TaskKey: [UInt8]] = [:]
    var readings = 0
    while true {
      let values = try options.values(reader)
      let isFirst = readings == 0
      func hasChanged(_ value: TaskValue<[UInt8]>, _ field: ValueLayout.Field) -> Bool {
        guard let old = last[TaskKey(value)] else { return !isFirst }
        return field.value(in: old) != field.value(in: value.value)
      }
      if redraws {
        try redraw(values, fields, changed: hasChanged)
      } else {
        for value in values {
          let isNew = last[TaskKey(value)] == nil
          let changed = fields.filter { hasChanged(value, $0) }
          if isNew || !changed.isEmpty {
            try printChange(value, fields, changed: Set(changed.map(\.name)))
          }
        }
      }
      last = Dictionary(
        values.map { (TaskKey($0), $0.value) },
        uniquingKeysWith: { first, _ in first }
      )
      readings += 1
      if let count, readings >= count { return }
      Thread.sleep(forTimeInterval: interval)
    }
  }

  private func printChange(
    _ value: TaskValue<[UInt8]>,
    _ fields: [ValueLayout.Field],
    changed: Set<String>
  ) throws {
    let task = value.task
    if json {
      guard case .object(var object) = JSON(value, fields) else { return }
      object["changed"] = .array(changed.sorted().map(JSON.string))
      object["time"] = .number(Date().timeIntervalSince1970)
      try printLine(JSON.object(object).text(onOneLine: true))
      return
    }
    let text = fields.map {
      "\($0.name)=\(changed.contains($0.name) ? "*" : "")\($0.value(in: value.value).cell)"
    }.joined(separator: " ")
    try printLine(
      "\(printable(task.processName))[\(task.processID)] \(printable(task.threadName))"
        + "[\(task.thread)] \(text)"
    )
  }

  private func redraw(
    _ values: [TaskValue<[UInt8]>],
    _ fields: [ValueLayout.Field],
    changed: (TaskValue<[UInt8]>, ValueLayout.Field) -> Bool
  ) throws {
    // `struct winsize` is in a module that cannot be imported: rows, columns, and the size in pixels.
    var size = [UInt16](repeating: 0, count: 4)
    let isKnown = ioctl(STDOUT_FILENO, UInt(TIOCGWINSZ), &size) == 0 && size[0] > 3
    let (height, width) = isKnown ? (Int(size[0]), Int(size[1])) : (24, 80)
    var lines = TextTable(values, fields, changed: changed).lines()
    let omitted = lines.count - (height - 2)
    if omitted > 0 { lines = lines.prefix(height - 3) + ["… \(omitted + 1) more"] }
    // Moves the cursor home and erases the rest of each line and of the screen, which avoids
    // flicker.
    var text = "\u{1B}[Hmap \(printable(options.map)), every \(interval) s\u{1B}[K\n"
    for line in lines { text += line.prefix(width) + "\u{1B}[K\n" }
    try printText(text + "\u{1B}[J")
  }
}

/// Distinguishes a task from a later one with the same id.
private struct TaskKey: Hashable {
  var thread: Int32
  var start: UInt64

  init(_ value: TaskValue<[UInt8]>) {
    thread = value.task.thread.rawValue
    start = value.task.startTime
  }
}
