internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import Synchronization

/// Opens pidfds, and keeps one descriptor of the process to give up when it has no others left.
///
/// Whoever gives that one up gets it back: no other thread opens a pidfd between the two system
/// calls. The program's own threads may open something else, and then it is lost until there are
/// descriptors again.
final class PidfdOpener: Sendable {
  static let shared = PidfdOpener()

  private let reserve = Atomic<Int32>(-1)
  /// Held while the reserve is filled or given up.
  private let reserveLock = ForkSafeLock()
  /// Shared by those who open a pidfd, and held alone between giving up the reserve and having it.
  private let opening = ForkSafeSharedLock()

  private init() {
    pthread_atfork(
      {
        PidfdOpener.shared.reserveLock.lock()
        PidfdOpener.shared.opening.lockAlone()
      },
      {
        PidfdOpener.shared.opening.unlock()
        PidfdOpener.shared.reserveLock.unlock()
      },
      {
        PidfdOpener.shared.closeReserve()
        PidfdOpener.shared.opening.makeNew()
        PidfdOpener.shared.reserveLock.unlock()
      }
    )
  }

  /// A descriptor of the thread, which the caller closes, or -errno.
  func open(_ id: ThreadID) -> Int32 {
    if reserve.load(ordering: .relaxed) < 0 { fillReserve() }
    return opening.withLockShared { pidfd(of: id) }
  }

  /// Runs `body` with a descriptor of the thread, or -errno, in the place of the reserve; nil if
  /// there is no reserve. One thread at a time.
  func withReserve<R>(for id: ThreadID, _ body: (Int32) -> R) -> R? {
    reserveLock.withLock {
      guard reserve.load(ordering: .relaxed) >= 0 else { return nil }
      let descriptor = opening.withLockAlone {
        closeReserve()
        return pidfd(of: id)
      }
      let result = body(descriptor)
      reserve.store(descriptor, ordering: .relaxed)
      return result
    }
  }

  /// Before the first pidfd is opened: later there may be no descriptor for it.
  private func fillReserve() {
    reserveLock.withLock {
      guard reserve.load(ordering: .relaxed) < 0 else { return }
      reserve.store(mms_pidfd_open(getpid(), false), ordering: .relaxed)
    }
  }

  private func closeReserve() {
    let descriptor = reserve.exchange(-1, ordering: .relaxed)
    if descriptor >= 0 { close(descriptor) }
  }

  private func pidfd(of id: ThreadID) -> Int32 {
    if id.rawValue == getpid() { return mms_pidfd_open(id.rawValue, false) }
    let descriptor = mms_pidfd_open(id.rawValue, true)
    // Before Linux 6.9 the flag is unknown; another process's leader needs none.
    return descriptor == -EINVAL ? mms_pidfd_open(id.rawValue, false) : descriptor
  }
}
