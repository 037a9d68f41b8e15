// SPDX-License-Identifier: Apache-2.0
import Foundation
import PackagePlugin

/// Finds the `*.bpf.c` files of a target, in the order of their paths.
///
/// SwiftPM's list of the target's files does not contain them, because a Swift target has to
/// exclude them. Omits hidden folders, packages inside the target's folder, and the folders of
/// other targets.
func bpfSources(below root: URL, of target: any Target, in package: Package) -> [URL] {
  let others = Set(
    package.targets.map(\.directoryURL.filePath).filter { $0 != target.directoryURL.filePath }
  )
  let walk = FileManager.default.enumerator(
    at: root,
    includingPropertiesForKeys: nil,
    options: [.skipsHiddenFiles]
  )
  var found: [URL] = []
  while let file = walk?.nextObject() as? URL {
    let manifest = file.appending(path: "Package.swift").filePath
    if others.contains(file.filePath) || FileManager.default.fileExists(atPath: manifest) {
      walk?.skipDescendants()
    } else if file.lastPathComponent.hasSuffix(".bpf.c") {
      found.append(file)
    }
  }
  return found.sorted { $0.filePath < $1.filePath }
}
