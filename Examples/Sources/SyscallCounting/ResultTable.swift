// SPDX-License-Identifier: Apache-2.0
/// The results of all workers as text, with a row for each thread.
public struct ResultTable: CustomStringConvertible {
  private let results: [Worker.Result]

  /// Creates a table of the results.
  public init(_ results: [Worker.Result]) { self.results = results }

  /// The table: for each class all calls, and the sampled ones after a slash.
  public var description: String {
    var rows = [["thread", "sampling"] + CallClass.allCases.map { "\($0)" }]
    for result in results {
      rows.append(
        [result.worker.name, "1/\(result.worker.sampling)"]
          + zip(result.seen, result.sampled).map { $0 == 0 ? "-" : "\($0)/\($1)" }
      )
    }
    let widths = rows[0].indices.map { column in rows.map { $0[column].count }.max() ?? 0 }
    return rows.map { row in
      zip(row, widths).enumerated().map { column, cell in
        let padding = String(repeating: " ", count: cell.1 - cell.0.count)
        return column == 0 ? cell.0 + padding : padding + cell.0
      }.joined(separator: "  ")
    }.joined(separator: "\n")
  }
}
