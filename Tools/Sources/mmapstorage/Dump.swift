// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import MmapStorage

struct Dump: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Shows the values of all tasks in a map, of all processes, also in user pages."
  )

  @OptionGroup var options: ValueOptions

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let (reader, fields) = try options.makeReader()
    let values = try options.values(reader)
    if json {
      try printLine(JSON.array(values.map { JSON($0, fields) }).text())
    } else {
      try TextTable(values, fields).print()
    }
  }
}
