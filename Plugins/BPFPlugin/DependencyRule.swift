// SPDX-License-Identifier: Apache-2.0
/// Reads the make rules that `clang -M` writes.
enum DependencyRule {
  /// The files after the colon, without make's escapes.
  static func prerequisites(in rule: String) -> [String] {
    var words: [String] = []
    var word = ""
    var rest = Substring(rule)
    while let character = rest.popFirst() {
      switch (character, rest.first) {
      case ("\\", "\n"):
        rest.removeFirst()
        fallthrough
      case (" ", _), ("\n", _):
        if !word.isEmpty { words.append(word) }
        word = ""
      case ("\\", " "), ("\\", "#"), ("$", "$"):
        word.append(rest.removeFirst())
      default:
        word.append(character)
      }
    }
    guard let target = words.firstIndex(where: { $0.hasSuffix(":") }) else { return [] }
    return Array(words[(target + 1)...])
  }
}
