// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A file of the documentation, by its path in the repository.
struct Article {
  var text: String

  init(_ path: String) throws {
    let root = URL(filePath: #filePath).deletingLastPathComponent()
    text = try String(contentsOf: root.appending(path: "../../../\(path)"), encoding: .utf8)
  }

  static var troubleshooting: Article {
    get throws { try Article("DocsSource/MmapStorage.docc/Troubleshooting.md") }
  }

  /// Whether a code block of the article contains the lines, except for indentation.
  func quotes(_ printed: String) -> Bool {
    text.contains("```text\n\(printed)\n```")
  }

  /// Whether a code block has the lines, numbers and the widths of columns aside.
  func quotesMasked(_ printed: String) -> Bool {
    blocks.contains { masked($0) == masked(printed) }
  }

  /// The blocks of text.
  private var blocks: [Substring] {
    text.matches(of: /```text\n(.*?)\n```/.dotMatchesNewlines()).map(\.output.1)
  }
}

/// The text without what differs in each run.
private func masked(_ text: some StringProtocol) -> String {
  String(text).replacing(/[0-9]+/, with: "N").replacing(/\ +/, with: " ")
    .replacing(/REQUEST_(IDLE|HANDLING)/, with: "STATE")
    .split(separator: "\n", omittingEmptySubsequences: false)
    .map { $0.trimmingCharacters(in: .whitespaces) }
    .joined(separator: "\n").trimmingCharacters(in: .newlines)
}
