// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// The pages that one thread shares with the kernel: one for each map, shared by all storages of
/// the process over the map.
///
/// The lock is held while a page is registered, removed or copied. So a page that another thread is
/// reading stays mapped, and an element is never removed after its thread has registered a new
/// page.
final class UserPages: @unchecked Sendable {
  private struct Page {
    let map: UInt32
    /// The number of attachments that use it.
    var uses: UInt32
    let memory: UserPage
  }

  private let lock = ForkSafeLock()
  private var pages: [Page] = []

  /// Runs `body` with the pages. Only `body` changes them meanwhile.
  func withLock<R, E: Error>(_ body: (UserPages) throws(E) -> R) throws(E) -> R {
    try lock.withLock { () throws(E) in try body(self) }
  }

  // MARK: Only with the lock held

  /// The page in a map, by the map's id.
  subscript(map: UInt32) -> UserPage? { pages.first { $0.map == map }?.memory }

  /// Adds a use of the page in a map. `make` creates the page if there is none.
  func acquire<E: Error>(_ map: UInt32, make: () throws(E) -> UserPage) throws(E) -> UserPage {
    if let index = pages.firstIndex(where: { $0.map == map }) {
      pages[index].uses += 1
      return pages[index].memory
    }
    let memory = try make()
    if pages.isEmpty { pages.reserveCapacity(4) }
    pages.append(Page(map: map, uses: 1, memory: memory))
    return memory
  }

  /// Ends one use of the page in a map. Returns the page if that was the last one.
  func release(_ map: UInt32) -> UserPage? {
    guard let index = pages.firstIndex(where: { $0.map == map }) else { return nil }
    pages[index].uses -= 1
    return pages[index].uses == 0 ? pages.remove(at: index).memory : nil
  }
}
