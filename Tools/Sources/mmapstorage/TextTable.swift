// SPDX-License-Identifier: Apache-2.0

/// Rows of cells in aligned columns.
struct TextTable {
  var header: [String]
  var rows: [[String]] = []
  /// Columns of numbers, which are right-aligned.
  var numbers: Set<Int> = []

  func lines() -> [String] {
    let all = [header] + rows
    let widths = header.indices.map { column in all.map { $0[column].count }.max() ?? 0 }
    return all.map { row in
      var line = ""
      for (column, cell) in row.enumerated() {
        let fill = String(repeating: " ", count: widths[column] - cell.count)
        line += (column == 0 ? "" : "  ") + (numbers.contains(column) ? fill + cell : cell + fill)
      }
      while line.last == " " { line.removeLast() }
      return line
    }
  }

  func print() throws { try printText(lines().map { $0 + "\n" }.joined()) }
}

/// Untrusted text without characters that a terminal would interpret: control characters, and those that
/// change the direction of text.
func printable(_ text: String) -> String {
  String(
    text.unicodeScalars.map { scalar -> Character in
      let properties = scalar.properties
      return properties.generalCategory == .control || properties.isBidiControl
        ? "?" : Character(scalar)
    }
  )
}
