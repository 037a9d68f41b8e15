// SPDX-License-Identifier: Apache-2.0
/// Returns the name in lower case and without underscores. If two names are equal in this form, one
/// is probably a misspelling of the other.
func looseName(_ name: String) -> String { name.lowercased().filter { $0 != "_" } }

/// Converts a Swift name to C's style: `requestID` to `request_id`, `urlPath` to `url_path`,
/// `requestIDs` to `request_ids`.
///
/// An underscore is inserted before a capital letter that follows a lower-case letter or a digit, and
/// before the last one of several capital letters if a lower-case letter other than a plural 's'
/// follows.
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
