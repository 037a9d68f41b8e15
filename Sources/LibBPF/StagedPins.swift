// SPDX-License-Identifier: Apache-2.0
import SystemPackage

/// Pins under temporary names, which are renamed after all were created. A failure therefore
/// changes nothing, and a path refers to the old or the new object at any time.
struct StagedPins {
  /// The prefix of temporary names.
  static let prefix = "~"

  private var paths: [(temporary: FilePath, final: FilePath)] = []

  var isEmpty: Bool { paths.isEmpty }

  /// Calls `make` to create a pin or a symbolic link, to be renamed to `path`.
  mutating func add(
    _ path: FilePath,
    _ make: (FilePath) throws(BPFError) -> Void
  ) throws(BPFError) {
    let temporary = path.removingLastComponent()
      .appending(Self.prefix + (path.lastComponent?.string ?? ""))
    // A killed process may have left it.
    temporary.unlink()
    try make(temporary)
    paths.append((temporary, path))
  }

  /// Renames all, in the order of their creation.
  func commit(_ attempt: String) throws(BPFError) {
    for path in paths {
      let code = path.temporary.rename(to: path.final)
      guard code == 0 else {
        throw BPFError(code: code, attempt: attempt, on: "path '\(path.final)'")
      }
    }
  }

  /// Removes the remaining temporary names.
  func discard() {
    for path in paths { path.temporary.unlink() }
  }
}
