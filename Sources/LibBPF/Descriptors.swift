// SPDX-License-Identifier: Apache-2.0
import Glibc
package import SystemPackage

/// Duplicates a descriptor, with close-on-exec.
func copyDescriptor(
  _ descriptor: CInt,
  attempt: String,
  on subject: String
) throws(BPFError) -> CInt {
  let copy = fcntl(descriptor, F_DUPFD_CLOEXEC, 3)
  guard copy >= 0 else { throw BPFError(code: -errno, attempt: attempt, on: subject) }
  return copy
}

/// Closes a descriptor. Linux releases the number even if `close()` returns an error.
package func closeDescriptor(_ descriptor: CInt) {
  _ = close(descriptor)
}

/// Locks a directory that other users can also open and lock indefinitely: waits for at most a
/// second.
///
/// - Returns: The lock, for `releaseLock`; `nil` if the directory cannot be locked.
package func lockDirectory(_ path: FilePath) -> CInt? {
  let options: FileDescriptor.OpenOptions = [.directory, .closeOnExec]
  guard let directory = try? FileDescriptor.open(path, .readOnly, options: options) else {
    return nil
  }
  for _ in 0..<1000 {
    if flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0 { return directory.rawValue }
    usleep(1000)
  }
  closeDescriptor(directory.rawValue)
  return nil
}

/// Releases a lock of `flock(2)`, also if a child of this process has the descriptor, and closes it.
package func releaseLock(_ descriptor: CInt) {
  _ = flock(descriptor, LOCK_UN)
  closeDescriptor(descriptor)
}

/// Whether the descriptor is open for writing; an error number if it is not open.
func isWritable(_ descriptor: CInt) -> Result<Bool, Errno> {
  let flags = fcntl(descriptor, F_GETFL)
  guard flags >= 0 else { return .failure(Errno(rawValue: errno)) }
  return .success(flags & O_ACCMODE != O_RDONLY)
}

/// Whether the descriptor is open for writing only.
func isWriteOnly(_ descriptor: CInt) -> Bool {
  fcntl(descriptor, F_GETFL) & O_ACCMODE == O_WRONLY
}

/// The text of a file, such as one below `/proc`; `nil` if it cannot be read.
package func readText(_ path: String) -> String? {
  guard let file = try? FileDescriptor.open(FilePath(path), .readOnly, options: .closeOnExec)
  else { return nil }
  defer { try? file.close() }
  return (try? file.readToEnd()).map { String(decoding: $0, as: UTF8.self) }
}

/// Whether system calls with a map's descriptor can change the map: it was opened for writing, and the map is
/// not frozen.
func canChangeMap(_ descriptor: CInt, _ info: [Substring: Int]? = nil) -> Bool {
  (try? isWritable(descriptor).get()) == true
    && (info ?? descriptorInfo(descriptor))["frozen:"] != 1
}

/// The numbers in the descriptor's `/proc/self/fdinfo`, by name; empty without `/proc`.
package func descriptorInfo(_ descriptor: CInt) -> [Substring: Int] {
  guard let text = readText("/proc/self/fdinfo/\(descriptor)") else { return [:] }
  var facts: [Substring: Int] = [:]
  for line in text.split(separator: "\n") {
    let words = line.split(whereSeparator: \.isWhitespace)
    if words.count == 2, let value = Int(words[1]) { facts[words[0]] = value }
  }
  return facts
}
