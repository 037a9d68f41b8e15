// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The first clang that has the bpf target. That of Debian's package `swiftlang` does not have it.
func clangWithBPFTarget(of candidates: [URL]) -> URL? {
  candidates.first { candidate in
    output(of: candidate, ["--print-targets"])?.split(separator: "\n")
      .contains { $0.split(separator: " ").first == "bpf" } ?? false
  }
}

/// The paths of clang in the folders of `PATH`.
func clangs(inPath path: String) -> [URL] {
  path.split(separator: ":").map { URL(filePath: String($0)).appending(path: "clang") }
}

/// What the program writes to standard output. Nil if it cannot be run, or fails.
func output(of program: URL, _ arguments: [String]) -> String? {
  let process = Process()
  process.executableURL = program
  process.arguments = arguments
  let output = Pipe()
  process.standardOutput = output
  process.standardError = FileHandle.nullDevice
  do {
    try process.run()
  } catch {
    return nil
  }
  let data = output.fileHandleForReading.readDataToEndOfFile()
  process.waitUntilExit()
  return process.terminationStatus == 0 ? String(decoding: data, as: UTF8.self) : nil
}
