// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Waits for a descriptor on a separate thread, for Swift tasks.
///
/// The thread starts with the first wait and polls only while a Swift task waits.
final class RingBufferWaiter: @unchecked Sendable {
  private let descriptor: CInt
  private let subject: String
  /// A pair of connected sockets to end a poll.
  private let wakeUp: CInt
  private let wakeUpWriter: CInt
  private let lock = ForkSafeLock()
  private let changed = ForkSafeCondition()
  // Guarded by `lock`.
  private var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
  private var nextID: UInt64 = 0
  /// The process that contains the thread: a child of `fork` has none.
  private var threadOwner: pid_t?
  private var isStopped = false

  init(for descriptor: CInt, on subject: String) throws(BPFError) {
    self.descriptor = descriptor
    self.subject = subject
    do throws(Errno) {
      (wakeUp, wakeUpWriter) = try createSocketPair()
    } catch {
      throw BPFError(errno: error, attempt: "wait for the ring buffer", on: subject)
    }
  }

  deinit {
    close(wakeUp)
    close(wakeUpWriter)
  }

  /// Ends the thread and all waits.
  func stop() {
    lock.withLock {
      isStopped = true
      changed.wakeAll()
    }
    wake()
  }

  /// - Throws: A system error if the thread cannot be started.
  func wait() async throws(BPFError) {
    let id = try lock.withLock { () throws(BPFError) in
      try startThread()
      nextID += 1
      return nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let canWait = lock.withLock {
          guard !isStopped, !Task.isCancelled else { return false }
          waiting[id] = continuation
          changed.wakeAll()
          return true
        }
        if !canWait { continuation.resume() }
      }
    } onCancel: {
      lock.withLock { waiting.removeValue(forKey: id) }?.resume()
      wake()
    }
  }

  /// Starts the thread if there is none. The caller holds the lock.
  private func startThread() throws(BPFError) {
    guard threadOwner != getpid() else { return }
    do throws(Errno) {
      try LibBPF.startThread { self.run() }.detach()
    } catch {
      throw BPFError(errno: error, attempt: "start a thread that waits", on: subject)
    }
    threadOwner = getpid()
  }

  private func run() {
    while true {
      lock.lock()
      while waiting.isEmpty && !isStopped { lock.wait(for: changed) }
      let stopped = isStopped
      lock.unlock()
      if !stopped {
        var events = [
          pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0),
          pollfd(fd: wakeUp, events: Int16(POLLIN), revents: 0),
        ]
        _ = pollDescriptors(&events, milliseconds: -1)
        // The other end is open, so the loop ends with EAGAIN.
        _ = try? FileDescriptor(rawValue: wakeUp).readToEnd(chunk: 64)
      }
      let resumed = lock.withLock {
        defer { waiting = [:] }
        return waiting.values.map { $0 }
      }
      for continuation in resumed { continuation.resume() }
      if stopped { return }
    }
  }

  private func wake() {
    // A full buffer also ends a poll.
    _ = try? FileDescriptor(rawValue: wakeUpWriter).writeAll([0])
  }
}
