// SPDX-License-Identifier: Apache-2.0
import Foundation
import PackagePlugin

/// Finds the `*.bpf.c` files of a target, in the order of their paths.
///
/// SwiftPM's list of the target's files does not contain them, because a Swift target has to
/// exclude them. Omits hidden folders, packages inside the target's folder, and the folders of
/// other targets. Follows symbolic links, as SwiftPM does.
func bpfSources(below root: URL, of target: any Target, in package: Package) -> [URL] {
  let others = Set(
    package.targets.map(\.directoryURL.filePath).filter { $0 != target.directoryURL.filePath }
  )
  let manager = FileManager.default
  var found: [URL] = []
  // Links may lead to a folder again.
  var visited: Set<String> = []

  func visit(_ folder: URL) {
    guard visited.insert(folder.resolvingSymlinksInPath().filePath).inserted else { return }
    for name in ((try? manager.contentsOfDirectory(atPath: folder.filePath)) ?? []).sorted()
    where !name.hasPrefix(".") {
      let file = folder.appending(path: name)
      var isDirectory: ObjCBool = false
      let exists = manager.fileExists(atPath: file.filePath, isDirectory: &isDirectory)
      if !exists || !isDirectory.boolValue {
        // clang reports a link to a file that does not exist.
        if name.hasSuffix(".bpf.c") { found.append(file) }
      } else if !others.contains(file.filePath),
        !manager.fileExists(atPath: file.appending(path: "Package.swift").filePath)
      {
        visit(file)
      }
    }
  }
  visit(root)
  return found.sorted { $0.filePath < $1.filePath }
}
