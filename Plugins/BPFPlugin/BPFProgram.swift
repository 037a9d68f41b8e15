// SPDX-License-Identifier: Apache-2.0
import Foundation

/// A `*.bpf.c` file and its names in Swift.
struct BPFProgram {
  /// The file.
  var source: URL
  /// The file's name without `.bpf.c`: `request-tags`.
  var name: String
  /// The name of the image in Swift: `requestTags`, in backticks if it is a keyword.
  var identifier: String

  init(source: URL) throws {
    self.source = source
    name = String(source.lastPathComponent.dropLast(".bpf.c".count))
    guard let identifier = swiftIdentifier(for: name),
      !name.contains(where: { "\"\\".contains($0) })
    else {
      throw PluginError(
        "\(source.filePath): '\(name)' has no valid Swift name; "
          + "use letters, digits, '-' and '_', and a word other than 'self'"
      )
    }
    self.identifier = identifier
  }
}

/// Names the files, and rejects two that would have the same name in Swift.
func programs(from sources: [URL]) throws -> [BPFProgram] {
  var byIdentifier: [String: BPFProgram] = [:]
  return try sources.map { source in
    let program = try BPFProgram(source: source)
    if let other = byIdentifier.updateValue(program, forKey: program.identifier) {
      throw PluginError(
        "both \(other.source.filePath) and \(source.filePath) would be "
          + "BPFObjectImage.\(program.identifier); rename one of them"
      )
    }
    return program
  }
}

/// `request-tags`, `request_tags` and `RequestTags` become `requestTags`; nil if no character is
/// left.
func swiftIdentifier(for name: String) -> String? {
  let words = name.split { !($0.isASCII && ($0.isLetter || $0.isNumber)) }
  guard let first = words.first else { return nil }
  var identifier = lowercasedStart(of: first)
  for word in words.dropFirst() { identifier += word.prefix(1).uppercased() + word.dropFirst() }
  if identifier.first?.isNumber == true { identifier = "_" + identifier }
  if identifier == "self" { return nil }
  return keywords.contains(identifier) ? "`\(identifier)`" : identifier
}

/// `Tags` becomes `tags`, `HTTPTags` becomes `httpTags`, `HTTP` becomes `http`.
private func lowercasedStart(of word: Substring) -> String {
  let capitals = word.prefix { $0.isUppercase }
  let keep = capitals.count > 1 && word.dropFirst(capitals.count).first?.isLetter == true ? 1 : 0
  let start = word.prefix(capitals.count - keep)
  return start.lowercased() + word.dropFirst(start.count)
}

private let keywords: Set<String> = [
  "as", "associatedtype", "break", "case", "catch", "class", "continue", "default", "defer",
  "deinit", "do", "else", "enum", "extension", "fallthrough", "false", "fileprivate", "for", "func",
  "guard", "if", "import", "in", "init", "inout", "internal", "is", "let", "nil", "operator",
  "precedencegroup", "private", "protocol", "public", "repeat", "rethrows", "return", "static",
  "struct", "subscript", "super", "switch", "throw", "throws", "true", "try", "typealias", "var",
  "where", "while",
]
