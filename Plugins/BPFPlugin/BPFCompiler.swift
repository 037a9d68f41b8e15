// SPDX-License-Identifier: Apache-2.0
import Foundation
import PackagePlugin

/// clang, and the flags for one target's BPF programs.
struct BPFCompiler {
  /// The Swift toolchain's clang, or another one.
  var clang: URL
  /// All flags, except for the files to read and write.
  var flags: [String]

  init(clang: URL, target: SwiftSourceModuleTarget, package: Package) {
    self.clang = clang
    let dependencies = target.recursiveTargetDependencies
    let headers = dependencies.compactMap {
      ($0 as? ClangSourceModuleTarget)?.publicHeadersDirectoryURL
    }
    let libraryFlags = dependencies.flatMap { ($0 as? SystemLibraryTarget)?.compilerFlags ?? [] }

    flags = ["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall"]
    // libbpf 1.1 rejects an object with functions of cold code, which Swift's clang splits off.
    // Other versions of clang have no -fno-split-cold-code.
    flags += ["-mllvm", "-hotcoldsplit-threshold=1000000"]
    // Removes this machine's paths from the object. The last map that matches takes effect.
    flags += headers.map { "-ffile-prefix-map=\($0.filePath)=\($0.lastPathComponent)" }
    flags += ["-ffile-prefix-map=\(package.directoryURL.filePath)=."]
    flags += ["-fdebug-compilation-dir=."]
    flags += Host.current.macros.map { "-D\($0)" }
    flags += ["-I", target.directoryURL.filePath]
    flags += headers.flatMap { ["-I", $0.filePath] }
    flags += libraryFlags.filter { $0.hasPrefix("-I") }
    if FileManager.default.fileExists(atPath: Host.current.includeDirectory) {
      flags += ["-idirafter", Host.current.includeDirectory]
    }
  }

  /// The make rule with the files that the object is made from. Nil if clang rejects the source:
  /// the build then reports why.
  func dependencyRule(of source: URL, for object: URL) -> String? {
    output(of: clang, flags + ["-w", "-M", "-MT", object.filePath, source.filePath])
  }
}
