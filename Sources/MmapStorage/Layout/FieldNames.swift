/// Whether one name is likely a slip for the other: they differ in capitals and underscores only.
func fieldName(_ swift: String, resembles c: String) -> Bool {
  swift.lowercased().filter { $0 != "_" } == c.lowercased().filter { $0 != "_" }
}

/// `requestID` → `request_id`, `urlPath` → `url_path`, `requestIDs` → `request_ids`.
///
/// An underscore goes before a capital that follows a small letter or a digit, and before the last
/// capital of a run that is followed by a small letter, unless that letter is a plural 's'.
func snakeCase(_ name: String) -> String {
  let hasCapitals = !name.utf8.allSatisfy { $0 < 0x80 && !(0x41...0x5a).contains($0) }
  guard hasCapitals else { return name }
  let letters = Array(name)
  func isUpper(_ index: Int) -> Bool {
    letters.indices.contains(index) && letters[index].isUppercase
  }
  func isLower(_ index: Int) -> Bool {
    letters.indices.contains(index) && letters[index].isLowercase
  }
  var result = ""
  for (index, letter) in letters.enumerated() {
    if letter.isUppercase, index > 0, letters[index - 1] != "_" {
      let endsRun =
        isUpper(index - 1) && isLower(index + 1)
        && !(letters[index + 1] == "s" && !isLower(index + 2))
      if !isUpper(index - 1) || endsRun { result += "_" }
    }
    result += letter.lowercased()
  }
  return result
}
