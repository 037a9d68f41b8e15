// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

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

/// Closes a descriptor. Linux releases the number whatever `close()` returns.
package func closeDescriptor(_ descriptor: CInt) {
  _ = close(descriptor)
}

/// Whether the descriptor is open for writing; an error number if it is not open.
func isWritable(_ descriptor: CInt) -> Result<Bool, Errno> {
  let flags = fcntl(descriptor, F_GETFL)
  guard flags >= 0 else { return .failure(Errno(rawValue: errno)) }
  return .success(flags & O_ACCMODE != O_RDONLY)
}

/// What the descriptor refers to, such as "anon_inode:bpf-map"; `nil` without `/proc`.
package func descriptorTarget(_ descriptor: CInt) -> String? {
  unsafe withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { buffer in
    guard let start = buffer.baseAddress else { return nil }
    let length = unsafe readlink("/proc/self/fd/\(descriptor)", unsafe start, buffer.count)
    guard length >= 0 else { return nil }
    return unsafe String(
      decoding: UnsafeRawBufferPointer(start: start, count: length),
      as: UTF8.self
    )
  }
}

/// The numbers in the descriptor's `/proc/self/fdinfo`, by name; empty without `/proc`.
func descriptorInfo(_ descriptor: CInt) -> [Substring: Int] {
  guard
    let file = try? unsafe FileDescriptor.open(
      "/proc/self/fdinfo/\(descriptor)",
      .readOnly,
      options: .closeOnExec
    )
  else { return [:] }
  defer { try? file.close() }
  return unsafe withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
    guard let count = try? unsafe file.read(into: buffer) else { return [:] }
    var facts: [Substring: Int] = [:]
    for line in unsafe String(decoding: buffer.prefix(count), as: UTF8.self).split(separator: "\n")
    {
      let words = line.split(whereSeparator: \.isWhitespace)
      if words.count == 2, let value = Int(words[1]) { facts[words[0]] = value }
    }
    return facts
  }
}
