// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Writes a line to standard output at once: a pipe's reader gets it, and an error is not lost.
func printLine(_ line: String) throws { try printText(line + "\n") }

/// Writes to standard output at once.
func printText(_ text: String) throws {
  do {
    _ = try FileDescriptor.standardOutput.writeAll(text.utf8)
  } catch {
    throw ToolError("cannot write to standard output: \(error)")
  }
}

/// Throws if standard output is closed. Its descriptor would be that of the next file that is opened.
func checkStandardOutput() throws {
  guard fcntl(STDOUT_FILENO, F_GETFD) >= 0 else { throw ToolError("standard output is closed") }
}
