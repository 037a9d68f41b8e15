// SPDX-License-Identifier: Apache-2.0
#if canImport(Glibc)
  import Glibc
#elseif canImport(Musl)
  import Musl
#endif

// Invariant: pointers are lent for one call, with the size of the memory behind them.

/// An error of the build step; the text for the user.
struct Failure: Error {
  var message: String
  /// File, line and column; nil if there are none.
  var location: String?

  init(_ message: String, at location: String? = nil) {
    self.message = message
    self.location = location
  }

  init(_ attempt: String, _ path: String, errno: Int32) {
    message = unsafe "cannot \(attempt) \(path): \(String(cString: strerror(errno)))"
  }
}

/// Prints a line in the format of compilers, so that editors find the place.
func printError(_ failure: Failure) {
  let location = failure.location.map { "\($0): " } ?? ""
  writeToStandardError("\(location)error: \(failure.message)\n")
}

func writeToStandardError(_ text: String) {
  _ = writeAll(Array(text.utf8), to: STDERR_FILENO)
}

/// Runs a program to its end, and returns its output to standard error.
///
/// - Throws: ``Failure`` if it cannot be run, or if a signal ends it.
func run(_ command: [String]) throws(Failure) -> (succeeded: Bool, messages: String) {
  var ends: [Int32] = [-1, -1]
  guard unsafe pipe(&ends) == 0 else {
    throw Failure("make a pipe for", command[0], errno: errno)
  }
  var actions = unsafe posix_spawn_file_actions_t()
  unsafe posix_spawn_file_actions_init(&actions)
  defer { unsafe posix_spawn_file_actions_destroy(&actions) }
  unsafe posix_spawn_file_actions_addclose(&actions, ends[0])
  unsafe posix_spawn_file_actions_adddup2(&actions, ends[1], STDERR_FILENO)
  unsafe posix_spawn_file_actions_addclose(&actions, ends[1])

  var words = unsafe command.map { unsafe strdup($0) } + [nil]
  defer { unsafe words.forEach { unsafe free($0) } }
  var process: pid_t = 0
  let status = unsafe posix_spawn(&process, command[0], &actions, nil, &words, environ)
  close(ends[1])
  defer { close(ends[0]) }
  guard status == 0 else { throw Failure("run", command[0], errno: status) }

  let messages = try readAll(from: ends[0], path: command[0])
  var end: Int32 = 0
  while unsafe waitpid(process, &end, 0) < 0 {
    if errno != EINTR { throw Failure("wait for", command[0], errno: errno) }
  }
  let signal = end & 0x7f
  if signal != 0 {
    writeToStandardError(String(decoding: messages, as: UTF8.self))
    throw Failure(
      "\(command[0]) was ended by signal \(signal)"
        + (signal == SIGKILL
          ? ", which the kernel sends if there is no memory; build with fewer jobs" : "")
    )
  }
  return (end == 0, String(decoding: messages, as: UTF8.self))
}

func read(_ path: String) throws(Failure) -> [UInt8] {
  let file = unsafe open(path, O_RDONLY | O_CLOEXEC)
  guard file >= 0 else { throw Failure("read", path, errno: errno) }
  defer { close(file) }
  return try readAll(from: file, path: path)
}

/// Replaces the file atomically, so that readers never see a partial file.
func write(_ bytes: [UInt8], to path: String) throws(Failure) {
  let unfinished = path + ".tmp"
  let file = unsafe open(unfinished, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o666)
  guard file >= 0 else { throw Failure("write", unfinished, errno: errno) }
  let written = writeAll(bytes, to: file)
  let error = errno
  close(file)
  guard written else { throw Failure("write", unfinished, errno: error) }
  try rename(unfinished, to: path)
}

func rename(_ path: String, to newPath: String) throws(Failure) {
  guard unsafe rename(path, newPath) == 0 else { throw Failure("write", newPath, errno: errno) }
}

/// Sets the file's date to now.
func touch(_ path: String) throws(Failure) {
  guard unsafe utimensat(AT_FDCWD, path, nil, 0) == 0 else {
    throw Failure("touch", path, errno: errno)
  }
}

/// The file's modification date; nil if it does not exist.
func modificationTime(of path: String) -> timespec? {
  var status = stat()
  return unsafe stat(path, &status) == 0 ? status.st_mtim : nil
}

/// Sets a file's date at least a second after another's. The Swift compiler treats a file with a
/// date in the same second as unchanged.
func setModificationTime(of path: String, aSecondAfter other: timespec) throws(Failure) {
  guard let time = modificationTime(of: path) else { throw Failure("touch", path, errno: errno) }
  let soonest = timespec(tv_sec: other.tv_sec + 1, tv_nsec: other.tv_nsec)
  if (time.tv_sec, time.tv_nsec) >= (soonest.tv_sec, soonest.tv_nsec) { return }
  guard unsafe utimensat(AT_FDCWD, path, [soonest, soonest], 0) == 0 else {
    throw Failure("touch", path, errno: errno)
  }
}

func isExecutable(_ path: String) -> Bool { unsafe access(path, X_OK) == 0 }

/// The path without symbolic links; unchanged if it cannot be resolved.
func resolved(_ path: String) -> String {
  guard let real = unsafe realpath(path, nil) else { return path }
  defer { unsafe free(real) }
  return unsafe String(cString: real)
}

private func readAll(from file: Int32, path: String) throws(Failure) -> [UInt8] {
  var bytes: [UInt8] = []
  var chunk = [UInt8](repeating: 0, count: 65536)
  while true {
    let count = unsafe read(file, &chunk, chunk.count)
    if count == 0 { return bytes }
    if count > 0 {
      bytes += chunk[..<count]
    } else if errno != EINTR {
      throw Failure("read", path, errno: errno)
    }
  }
}

private func writeAll(_ bytes: [UInt8], to file: Int32) -> Bool {
  var rest = bytes[...]
  while !rest.isEmpty {
    let count = unsafe rest.withUnsafeBytes { unsafe write(file, $0.baseAddress, $0.count) }
    if count >= 0 {
      rest = rest.dropFirst(count)
    } else if errno != EINTR {
      return false
    }
  }
  return true
}
