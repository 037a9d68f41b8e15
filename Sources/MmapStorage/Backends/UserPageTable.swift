internal import Glibc
internal import LibBPF

/// The pages that this process has registered: one for each thread and map, however many storages
/// of the process use it.
///
/// Registering, removing and copying are done under the lock of that thread's pages, so that a page
/// which another thread is reading stays where it is, and an element is never removed after its
/// thread has put a new page there. Threads do not wait for each other.
final class UserPageTable: Sendable {
  static let shared = UserPageTable()

  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var threads: [ThreadID: ThreadPages] = [:]

  private init() {
    _ = ThreadRegistry.shared  // `fork` takes the locks in the reverse order of registration
    pthread_atfork(
      { UserPageTable.shared.lock.lock() },
      { UserPageTable.shared.lock.unlock() },
      {
        // The pages are not mapped in the child.
        UserPageTable.shared.threads = [:]
        UserPageTable.shared.lock.unlock()
      }
    )
  }

  /// Runs `body` with the calling thread's pages, of which there may be none.
  func withOwnPages<R, E: Error>(_ body: (ThreadPages) throws(E) -> R) throws(E) -> R {
    let thread = ThreadID.current
    while true {
      let pages = lock.withLock {
        if let pages = threads[thread] { return pages }
        let pages = ThreadPages(of: thread)
        threads[thread] = pages
        return pages
      }
      if let result = try with(pages, body) { return result }
    }
  }

  /// Runs `body` with a thread's pages, or returns nil if it has none.
  func withPages<R, E: Error>(
    of thread: ThreadID,
    _ body: (ThreadPages) throws(E) -> R
  ) throws(E) -> R? {
    while let pages = lock.withLock({ threads[thread] }) {
      if let result = try with(pages, body) { return result }
    }
    return nil
  }

  /// Runs `body` with a thread's pages, or returns nil if they are not in the table any more. They
  /// stay there if there are any afterwards.
  func with<R, E: Error>(
    _ pages: ThreadPages,
    _ body: (ThreadPages) throws(E) -> R
  ) throws(E) -> R? {
    try pages.lock.withLock { () throws(E) in
      guard !pages.isGone else { return nil }
      defer {
        if pages.isEmpty {
          pages.isGone = true
          lock.withLock { threads[pages.thread] = nil }
        }
      }
      return try body(pages)
    }
  }
}

/// The pages that the kernel knows as one thread's, at most one for each map. Their lock guards them,
/// and is taken before the table's and the thread registry's.
final class ThreadPages: @unchecked Sendable {
  private struct Page {
    let map: UInt32
    /// How many attachments lead to it.
    var uses: UInt32
    let memory: UserPage
  }

  let thread: ThreadID
  fileprivate let lock = ForkSafeLock()
  fileprivate var isGone = false
  private var pages: [Page] = []

  fileprivate init(of thread: ThreadID) { self.thread = thread }

  fileprivate var isEmpty: Bool { pages.isEmpty }

  /// The page in a map, by the map's id.
  subscript(map: UInt32) -> UserPage? { pages.first { $0.map == map }?.memory }

  /// The page in a map, for one use more; the first makes it.
  func use<E: Error>(_ map: UInt32, make: () throws(E) -> UserPage) throws(E) -> UserPage {
    if let index = pages.firstIndex(where: { $0.map == map }) {
      pages[index].uses += 1
      return pages[index].memory
    }
    let memory = try make()
    if pages.isEmpty { pages.reserveCapacity(4) }
    pages.append(Page(map: map, uses: 1, memory: memory))
    return memory
  }

  /// Ends one use of the page in a map; the page if that was the last one.
  func endUse(_ map: UInt32) -> UserPage? {
    guard let index = pages.firstIndex(where: { $0.map == map }) else { return nil }
    pages[index].uses -= 1
    return pages[index].uses == 0 ? pages.remove(at: index).memory : nil
  }
}
