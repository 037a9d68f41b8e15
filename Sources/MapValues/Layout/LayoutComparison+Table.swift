// SPDX-License-Identifier: Apache-2.0
extension LayoutComparison: CustomStringConvertible {
  package var description: String { table }

  /// Both sides next to each other with one line for each field, followed by the changes to make.
  ///
  /// A line with a difference starts with "!", and the cells that differ are enclosed in ">" and "<".
  package var table: String { table(of: rows) }

  /// The same for two C types.
  var tableOfCTypes: String {
    var rows = rows
    for index in rows.indices {
      if let side = rows[index].swift { rows[index].swift?.type = side.cType }
      rows[index].hint = ""
    }
    return table(of: rows, titles: [" \(swiftName)", " \(mapName): \(mapTypeName)"])
  }

  func table(of rows: [Row]) -> String {
    table(of: rows, titles: [" Swift type \(swiftName)", " map \(mapName): \(mapTypeName)"])
  }

  private func table(of rows: [Row], titles: [String]) -> String {
    let header = ["field", "offset", "size", "type"].map { TableCell($0) }
    let lines = [TableLine(mark: " ", cells: header + header)] + rows.map(line)
    var widths = (0..<8).map { column in lines.map { $0.cells[column].text.count }.max() ?? 0 }
    // There are three spaces between the four columns of a side.
    let side = widths[..<4].reduce(3, +)
    widths[3] += max(0, titles[0].count - side)
    let sides = [widths[..<4].reduce(3, +), max(widths[4...].reduce(3, +), titles[1].count)]

    let title = titles[0] + String(repeating: " ", count: sides[0] - titles[0].count)
    var texts = ["  \(title) | \(titles[1])"]
    texts += lines.map { $0.text(widths: widths) }
    texts.insert(
      "  " + sides.map { String(repeating: "-", count: $0) }.joined(separator: "-+-"),
      at: 2
    )
    let hints = rows.map(\.hint).filter { !$0.isEmpty }
    if !hints.isEmpty { texts += [""] + hints.map { "- \($0)" } }
    return texts.joined(separator: "\n")
  }

  private func line(_ row: Row) -> TableLine {
    let differences = row.differences
    var cells: [TableCell] = []
    for side in [row.swift, row.map] {
      guard let side else {
        let isMarked = !differences.isEmpty
        cells += [TableCell(isMarked ? "(missing)" : "(not used)", isMarked: isMarked)]
        cells += [TableCell(""), TableCell(""), TableCell("")]
        continue
      }
      let isWhole = side.name.isEmpty && side.type.isEmpty
      cells += [
        TableCell(
          isWhole ? "whole value" : side.name.isEmpty ? "value" : side.name,
          isMarked: differences.contains(.name) || differences.contains(.extra)
            || differences.contains(.missing)
        ),
        TableCell(isWhole ? "" : "\(side.offset)", isMarked: differences.contains(.offset)),
        TableCell("\(side.size)", isMarked: differences.contains(.size)),
        TableCell(
          side.type,
          isMarked: !differences.isDisjoint(with: [.kind, .sign, .length, .unsupported])
        ),
      ]
    }
    return TableLine(mark: differences.isEmpty ? " " : "!", cells: cells)
  }
}

private struct TableCell {
  /// Contains a character on each side for the mark, so that marks do not move the columns.
  var text: String

  init(_ text: String, isMarked: Bool = false) {
    self.text = isMarked ? ">\(text)<" : " \(text) "
  }
}

private struct TableLine {
  var mark: String
  var cells: [TableCell]

  func text(widths: [Int]) -> String {
    var text = mark + " "
    for (column, cell) in cells.enumerated() {
      let fill = String(repeating: " ", count: widths[column] - cell.text.count)
      let isNumber = (1...2).contains(column % 4)
      text += isNumber ? fill + cell.text : cell.text + fill
      if column < 7 { text += column == 3 ? " | " : " " }
    }
    while text.last == " " { text.removeLast() }
    return text
  }
}
