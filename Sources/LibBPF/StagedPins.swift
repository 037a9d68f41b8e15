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

  /// The temporary name of a description that is replaced.
  private static func kept(_ name: String, _ description: PinDescription) -> String {
    "\(prefix)\(description.id)\(prefix)\(name)"
  }

  /// The name that an entry of a directory has or had without a temporary name.
  static func finalName(_ entry: String) -> String {
    entry.split(separator: prefix).last.map(String.init) ?? entry
  }

  /// Renames all, in the order of their creation.
  ///
  /// Keeps the descriptions that it replaces under temporary names. If this process is killed, some pins are still
  /// those that they describe.
  func commit(_ attempt: String) throws(BPFError) {
    for path in paths {
      guard let old = PinDescription(path.final), let name = path.final.lastComponent else {
        continue
      }
      let kept = path.final.removingLastComponent().appending(Self.kept(name.string, old))
      // After an earlier kill, it may exist.
      kept.unlink()
      try old.write(kept)
    }
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
