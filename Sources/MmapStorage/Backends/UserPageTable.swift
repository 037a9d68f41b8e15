internal import Glibc

/// The pages that this process has registered: one for each thread and map, however many storages
/// of the process use it.
///
/// Registering, removing and copying are done under the lock of that page's place, so that a page
/// which another thread is reading stays where it is, and an element is never removed after its
/// thread has put a new page there. Threads do not wait for each other.
final class UserPageTable: Sendable {
  static let shared = UserPageTable()

  struct Key: Hashable {
    var map: UInt32
    var thread: ThreadID
  }

  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var places: [Key: RegisteredPage] = [:]

  private init() {
    _ = ThreadRegistry.shared  // `fork` takes the locks in the reverse order of registration
    pthread_atfork(
      { UserPageTable.shared.lock.lock() },
      { UserPageTable.shared.lock.unlock() },
      {
        // The pages are not mapped in the child.
        UserPageTable.shared.places = [:]
        UserPageTable.shared.lock.unlock()
      }
    )
  }

  /// Runs `body` with the place for a key, made if there is none. It stays in the table if it has uses
  /// afterwards.
  func withPlace<R, E: Error>(
    for key: Key,
    _ body: (RegisteredPage) throws(E) -> R
  ) throws(E) -> R {
    while true {
      let place = lock.withLock {
        if let place = places[key] { return place }
        let place = RegisteredPage(key)
        places[key] = place
        return place
      }
      if let result = try withPlace(place, body) { return result }
    }
  }

  /// Runs `body` with the place for a key, or returns nil if there is none.
  func withExistingPlace<R, E: Error>(
    for key: Key,
    _ body: (RegisteredPage) throws(E) -> R
  ) throws(E) -> R? {
    while let place = lock.withLock({ places[key] }) {
      if let result = try withPlace(place, body) { return result }
    }
    return nil
  }

  /// Runs `body` with a place, or returns nil if that is not in the table any more.
  func withPlace<R, E: Error>(
    _ place: RegisteredPage,
    _ body: (RegisteredPage) throws(E) -> R
  ) throws(E) -> R? {
    try place.lock.withLock { () throws(E) in
      guard !place.isGone else { return nil }
      defer {
        if place.uses == 0 {
          place.isGone = true
          lock.withLock { places[place.key] = nil }
        }
      }
      return try body(place)
    }
  }
}

/// The place of the page that the kernel knows as one thread's in one map. Its lock guards it, and is
/// taken before the table's and the thread registry's.
final class RegisteredPage: @unchecked Sendable {
  let key: UserPageTable.Key
  fileprivate let lock = ForkSafeLock()
  /// There if it has uses.
  var memory: UserPage?
  /// How many attachments lead to it.
  var uses = 0
  fileprivate var isGone = false

  fileprivate init(_ key: UserPageTable.Key) { self.key = key }
}
