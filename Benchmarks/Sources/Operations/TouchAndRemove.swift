// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// The calling thread's first view of a storage, and the end of its value.
package func touchAndRemove(_ storage: TaskLocalStorage<Counters>, _ count: Int) throws {
  for _ in 0..<count {
    try storage.withCurrent { $0.b = 1 }
    guard try storage.removeValue(of: .thread(.current)) else { throw Failed(errno: ENOENT) }
  }
}
