// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Writes a line to standard output without buffering, so that a pipe's reader receives it and
/// errors are reported.
func printLine(_ line: String) throws { try printText(line + "\n") }

/// Writes to standard output without buffering.
func printText(_ text: String) throws {
  do {
    _ = try FileDescriptor.standardOutput.writeAll(text.utf8)
  } catch {
    throw ToolError("cannot write to standard output: \(error)")
  }
}

/// Throws if standard output is closed. The next opened file would get its descriptor.
func checkStandardOutput() throws {
  guard fcntl(STDOUT_FILENO, F_GETFD) >= 0 else { throw ToolError("standard output is closed") }
}
