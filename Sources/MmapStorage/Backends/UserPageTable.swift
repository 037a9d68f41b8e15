internal import Glibc

/// The pages that this process has registered: one for each thread and map, however many storages
/// of the process use it.
///
/// Registering, removing and copying are done under its lock, so that a page which another thread is
/// reading stays where it is, and an element is never removed after its thread has put a new page
/// there. The lock is taken before the thread registry's.
final class UserPageTable: Sendable {
  static let shared = UserPageTable()

  struct Key: Hashable {
    var map: UInt32
    var thread: ThreadID
  }

  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var entries: [Key: RegisteredPage] = [:]

  private init() {
    _ = ThreadRegistry.shared  // `fork` takes the locks in the reverse order of registration
    pthread_atfork(
      { UserPageTable.shared.lock.lock() },
      { UserPageTable.shared.lock.unlock() },
      {
        // The pages are not mapped in the child.
        UserPageTable.shared.entries = [:]
        UserPageTable.shared.lock.unlock()
      }
    )
  }

  func withEntries<R, E: Error>(_ body: (inout [Key: RegisteredPage]) throws(E) -> R) throws(E) -> R
  {
    try lock.withLock { () throws(E) in try body(&entries) }
  }
}

/// A page that the kernel knows as one thread's in one map.
final class RegisteredPage: @unchecked Sendable {
  let memory: UserPage
  let key: UserPageTable.Key
  /// How many attachments lead to it. Guarded by the table's lock.
  var uses = 1

  init(_ memory: UserPage, as key: UserPageTable.Key) {
    self.memory = memory
    self.key = key
  }
}
