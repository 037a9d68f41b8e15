// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Waits for a descriptor on a thread of its own, for Swift tasks.
///
/// The thread starts with the first wait and polls only while a Swift task waits, so records that
/// nobody asks for cost nothing.
final class RingBufferWaiter: @unchecked Sendable {
  private let descriptor: CInt
  /// The ends of a pair of sockets that ends a poll.
  private let wakeUp: CInt
  private let wakeUpWriter: CInt
  private let lock = ForkSafeLock()
  private let changed = ForkSafeCondition()
  // Guarded by `lock`.
  private var waiting: [UInt64: CheckedContinuation<Void, Never>] = [:]
  private var nextID: UInt64 = 0
  private var hasThread = false
  private var isStopped = false

  init(for descriptor: CInt, on subject: String) throws(BPFError) {
    self.descriptor = descriptor
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

  /// Ends the thread, and all waits.
  func stop() {
    lock.withLock {
      isStopped = true
      changed.wakeAll()
    }
    wake()
  }

  func wait() async {
    let id = lock.withLock {
      nextID += 1
      return nextID
    }
    await withTaskCancellationHandler {
      await withCheckedContinuation { continuation in
        let canWait = lock.withLock {
          guard !isStopped, !Task.isCancelled, startThread() else { return false }
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
  private func startThread() -> Bool {
    if hasThread { return true }
    do throws(Errno) {
      try LibBPF.startThread { self.run() }.detach()
    } catch {
      return false
    }
    hasThread = true
    return true
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
        // The other end is open, so this ends with EAGAIN.
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
    // A full buffer ends a poll as well.
    _ = try? FileDescriptor(rawValue: wakeUpWriter).writeAll([0])
  }
}
