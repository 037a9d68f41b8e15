// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import Synchronization

/// Opens pidfds, and reserves one descriptor of the process for use at the descriptor limit.
///
/// While the reserved descriptor is closed, no other thread of the library opens a pidfd, so that
/// its number can be used again. Other threads of the process may open another file in this time. Then
/// there is no reserve until a descriptor is free.
final class PidfdOpener: Sendable {
  static let shared = PidfdOpener()

  private let reserve = Atomic<Int32>(-1)
  /// Held while the reserve is filled or released.
  private let reserveLock = ForkSafeLock()
  /// Held for reading while a pidfd is opened, and for writing from the release of the reserve
  /// until its number is in use again.
  private let opening = ForkSafeSharedLock()
  /// Whether the kernel supports `PIDFD_THREAD` (Linux 6.9). True until the kernel rejects it.
  private let hasThreadFlag = Atomic<Bool>(true)

  private init() { ForkParticipants.add(self, rank: .pidfds) }

  /// Returns a descriptor of the thread, which the caller closes, or -errno. One system call, and
  /// two more for the first pidfd of the process.
  func open(_ id: ThreadID) -> Int32 {
    if reserve.load(ordering: .relaxed) < 0 { fillReserve() }
    return opening.withReadLock { pidfd(of: id) }
  }

  /// Runs `body` with a descriptor of the thread, or -errno, in place of the reserve. Returns nil
  /// if there is no reserve. Serialized between threads.
  func withReserve<R>(for id: ThreadID, _ body: (Int32) -> R) -> R? {
    reserveLock.withLock {
      guard reserve.load(ordering: .relaxed) >= 0 else { return nil }
      let descriptor = opening.withWriteLock {
        closeReserve()
        return pidfd(of: id)
      }
      let result = body(descriptor)
      reserve.store(descriptor, ordering: .relaxed)
      return result
    }
  }

  /// Before the first pidfd is opened, because later no descriptor may be left.
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
    guard hasThreadFlag.load(ordering: .relaxed) else { return mms_pidfd_open(id.rawValue, false) }
    let descriptor = mms_pidfd_open(id.rawValue, true)
    guard descriptor == -EINVAL, id.rawValue > 0 else { return descriptor }
    // Linux 6.9 to 6.14 return the same error for an id without a thread. The calling thread
    // exists.
    let own = mms_pidfd_open(ThreadID.current.rawValue, true)
    guard own == -EINVAL else {
      if own >= 0 { close(own) }
      return own >= 0 ? -ESRCH : own
    }
    // The flag is unknown; the thread group leader does not need it.
    hasThreadFlag.store(false, ordering: .relaxed)
    return mms_pidfd_open(id.rawValue, false)
  }
}

extension PidfdOpener: ForkParticipant {
  func prepareForFork() {
    reserveLock.lock()
    opening.writeLock()
  }

  func resumeInParent() {
    opening.unlock()
    reserveLock.unlock()
  }

  func resumeInChild() {
    closeReserve()
    opening.reset()
    reserveLock.unlock()
  }
}
