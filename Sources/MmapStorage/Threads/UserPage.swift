// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF
internal import SystemPackage

// Invariant: the page is mapped from `init` to `unmap()`, which is called once.

/// A page of memory that a thread shares with the kernel. It contains only the value.
///
/// The kernel pins the page for writing, long-term, when it is registered. `fork` copies pinned
/// pages instead of sharing them (Linux 5.12), so the parent keeps the registered page. Only views
/// that were in use at the `fork` refer to the child's copy.
@safe
struct UserPage: @unchecked Sendable {
  /// Bytes of a page on this machine.
  static let size = sysconf(CInt(_SC_PAGESIZE))

  let address: UnsafeMutableRawPointer

  /// - Throws: ``BPFError/Kind/outOfResources`` if there is no memory, or the process has reached its
  ///   limit of mappings.
  init(for object: @autoclosure () -> String) throws(BPFError) {
    let address = unsafe mmap(
      nil,
      Self.size,
      PROT_READ | PROT_WRITE,
      MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE,
      -1,
      0
    )
    guard let address = unsafe address, unsafe address != MAP_FAILED else {
      throw BPFError(
        errno: Errno(rawValue: errno),
        attempt: "allocate a page for the calling thread's value",
        on: object(),
        advice: "the process is out of memory, or has reached the limit on mappings "
          + "(vm.max_map_count)"
      )
    }
    unsafe self.address = address
  }

  var bytes: UnsafeMutableRawBufferPointer { unsafe .init(start: address, count: Self.size) }

  /// Unmaps the memory. The page must no longer be registered with the kernel.
  func unmap() { _ = unsafe munmap(address, Self.size) }
}
