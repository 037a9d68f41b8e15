// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

extension TaskReference {
  /// Runs `body` with a pidfd of the task.
  ///
  /// The calling thread's pidfd is opened once and shared by all storages if it is to be kept. At
  /// the descriptor limit, another thread's pidfd is closed, or the reserve is closed during the
  /// call. This is slower, and no descriptor is kept.
  ///
  /// - Parameters:
  ///   - attempt: The purpose of the pidfd, for errors.
  ///   - isKept: Whether the pidfd of the calling thread is kept for the next call.
  ///   - body: Uses the pidfd, and does not close it.
  /// - Returns: The result of `body`.
  /// - Throws: ``BPFError`` if the thread does not exist, or the kernel has no pidfd for it.
  func withPidfd<R>(
    for attempt: String,
    isKept: Bool = true,
    _ body: (Int32) -> R
  ) throws(BPFError) -> R {
    switch self {
    case .pidfd(let descriptor):
      return body(descriptor.rawValue)
    case .callingThread where !isKept:
      return try TaskReference.thread(.current).withPidfd(for: attempt, isKept: false, body)
    case .callingThread:
      return try withCachedPidfd(
        of: try ThreadRegistry.shared.currentOrNewRecord(),
        for: attempt,
        body
      )
    case .thread(let id):
      if isKept, let record = ThreadRegistry.shared.currentRecord, record.id == id {
        return try withCachedPidfd(of: record, for: attempt, body)
      }
      let descriptor = PidfdOpener.shared.open(id)
      guard descriptor >= 0 else {
        return try withScarcePidfd(of: id, failure: descriptor, for: attempt, body)
      }
      defer { close(descriptor) }
      return body(descriptor)
    }
  }

  private func withCachedPidfd<R>(
    of record: ThreadRecord,
    for attempt: String,
    _ body: (Int32) -> R
  ) throws(BPFError) -> R {
    if let result = record.pidfd.withDescriptor(body) { return result }
    let descriptor = PidfdOpener.shared.open(record.id)
    guard descriptor >= 0 else {
      return try withScarcePidfd(of: record.id, failure: descriptor, for: attempt, body)
    }
    let result = body(descriptor)
    record.pidfd.fill(descriptor)
    return result
  }

  /// Tries again after a pidfd could not be opened because no descriptor was free: closes an idle
  /// pidfd, or uses the reserve.
  private func withScarcePidfd<R>(
    of id: ThreadID,
    failure: Int32,
    for attempt: String,
    _ body: (Int32) -> R
  ) throws(BPFError) -> R {
    func isScarcity(_ result: Int32) -> Bool { result == -EMFILE || result == -ENFILE }

    var failure = failure
    while isScarcity(failure), ThreadRegistry.shared.closeOneIdlePidfd() {
      let descriptor = PidfdOpener.shared.open(id)
      if descriptor >= 0 {
        defer { close(descriptor) }
        return body(descriptor)
      }
      failure = descriptor
    }
    if isScarcity(failure) {
      let outcome: Result<R, Errno>? = PidfdOpener.shared.withReserve(for: id) { descriptor in
        descriptor < 0 ? .failure(Errno(rawValue: -descriptor)) : .success(body(descriptor))
      }
      switch outcome {
      case .success(let result): return result
      case .failure(let errno): failure = -errno.rawValue
      case nil: break
      }
    }
    throw pidfdError(Errno(rawValue: -failure), of: id, for: attempt)
  }

  private func pidfdError(_ errno: Errno, of id: ThreadID, for attempt: String) -> BPFError {
    let object = "thread \(id)"
    return switch errno {
    case .invalidArgument where id.rawValue > 0:
      BPFError(
        .unsupported,
        attempt: attempt,
        on: object,
        errno: errno,
        advice: "a pidfd of a thread other than the first of its process needs Linux 6.9 "
          + "(PIDFD_THREAD)"
      )
    case .noFunction:
      BPFError(
        .unsupported,
        attempt: attempt,
        on: object,
        errno: errno,
        advice: "pidfd_open needs Linux 5.3; a seccomp filter has to allow it"
      )
    case .invalidArgument:
      BPFError(
        .invalidArgument,
        attempt: attempt,
        on: object,
        errno: errno,
        advice: "a thread id must be positive"
      )
    default:
      BPFError(errno: errno, attempt: attempt, on: object)
    }
  }
}
