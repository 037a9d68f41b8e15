// SPDX-License-Identifier: Apache-2.0
import Glibc
package import MmapStorage
package import SystemPackage

extension BPFMap {
  /// Returns a new descriptor of the map, which the caller owns.
  package func duplicateDescriptor() throws(BPFError) -> FileDescriptor {
    let attempt = "duplicate the descriptor"
    return try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      let copy = fcntl(descriptor.rawValue, F_DUPFD_CLOEXEC, 0)
      guard copy >= 0 else {
        throw BPFError(errno: Errno(rawValue: errno), attempt: attempt, on: describedName)
      }
      return FileDescriptor(rawValue: copy)
    }
  }
}
