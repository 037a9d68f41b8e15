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
}
