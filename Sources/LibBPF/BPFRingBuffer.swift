// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
import Synchronization

// Invariant: libbpf's ring buffer exists from `init` to `deinit`, and is read under the lock only.
// Its callback runs in that call, with an inbox that this object keeps.

/// Reads the records of a ring buffer map (`BPF_MAP_TYPE_RINGBUF`, Linux 5.8) with libbpf's
/// `ring_buffer`.
///
/// Each record is read once, by one of the readers of this process. May be used from any thread; reads
/// of one map are serialized. Only one process at a time may read a map: the kernel has one read position for
/// all readers, and two processes that update it read records twice or as garbage. If records are not read in
/// time, the buffer is full and programs cannot reserve records. A child of `fork` must not use a reader of its parent.
@safe
public final class BPFRingBuffer: Sendable {
  package let map: BPFMap

  private let handle: MapHandle
  private let lock: ForkSafeLock
  private nonisolated(unsafe) let pointer: OpaquePointer
  private let inbox: Inbox
  private let waiter: RingBufferWaiter

  /// By the map's id: all readers of a map use one lock, independently of their objects.
  private static let locks = (0..<64).map { _ in ForkSafeLock() }

  /// Maps the ring buffer.
  ///
  /// - Parameter map: A map of type `BPF_MAP_TYPE_RINGBUF`, which is kept open.
  /// - Throws: ``BPFError/Kind/wrongType``, ``BPFError/Kind/wrongState`` if the map is closed, or a
  ///   system error.
  public init(_ map: BPFMap) throws(BPFError) {
    let attempt = "read the ring buffer"
    let info = try map.info
    guard info.type == .ringbuf else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: map.describedName,
        advice: "it is not a map of type BPF_MAP_TYPE_RINGBUF"
      )
    }
    let handle = try MapHandle(map, for: attempt)
    let inbox = Inbox(largest: info.maxEntries)
    var warnings = ""
    var code: CInt = 0
    let pointer = unsafe capturingWarnings(&warnings) {
      let pointer = unsafe handle.withNumber {
        unsafe ring_buffer__new($0, receive, Unmanaged.passUnretained(inbox).toOpaque(), nil)
      }
      code = unsafe resultCode(pointer)
      return unsafe pointer
    }
    guard let pointer = unsafe pointer else {
      throw BPFError(
        code: code,
        attempt: attempt,
        on: map.describedName,
        advice: info.isWritable
          ? nil
          : "its descriptor is read-only, and reading changes the read position; open the map without "
            + "readOnly: true",
        details: warnings
      )
    }
    do throws(BPFError) {
      waiter = try unsafe RingBufferWaiter(
        for: ring_buffer__epoll_fd(pointer),
        on: map.describedName
      )
    } catch {
      unsafe ring_buffer__free(pointer)
      throw error
    }
    lock = Self.locks[Int(info.id) % Self.locks.count]
    self.map = map
    self.handle = handle
    unsafe self.pointer = pointer
    self.inbox = inbox
  }

  deinit {
    waiter.stop()
    unsafe ring_buffer__free(pointer)
  }

  /// Removes records from the buffer and returns them, without waiting (`ring_buffer__consume`).
  ///
  /// Returns at most as many bytes as the buffer has, also if programs write records faster than the call reads
  /// them. Costs no system call. Allocates an array for each record.
  ///
  /// - Parameter limit: The largest number of records to take.
  /// - Returns: The bytes of each record, oldest first; empty if there are none.
  /// - Throws: A system error of libbpf; `EBADMSG` if a record is larger than the buffer, which happens if
  ///   another process also reads the map.
  public func takeRecords(atMost limit: Int = .max) throws(BPFError) -> [[UInt8]] {
    try lock.withLock { () throws(BPFError) in
      inbox.begin(limit: limit)
      guard limit > 0 else { return [] }
      let code = unsafe ring_buffer__consume(pointer)
      let records = inbox.end()
      // The callback ends a call that has read enough with this number.
      guard code >= 0 || code == -ECANCELED else {
        throw BPFError(
          code: code,
          attempt: "read the ring buffer",
          on: map.describedName,
          advice: code == -EBADMSG
            ? "a record is larger than the buffer: let no other process read it" : nil
        )
      }
      return records
    }
  }

  /// Waits until the kernel signals records. Returns early if the Swift task is cancelled.
  ///
  /// No thread of Swift's pool is blocked: one thread of the ring buffer waits with `poll(2)`.
  package func waitForRecords() async throws(BPFError) { try await waiter.wait() }
}

extension BPFRingBuffer: AsyncSequence {
  /// Returns an iterator over the records, from the oldest one that was not read. It waits for the next record,
  /// and ends when its Swift task is cancelled.
  public func makeAsyncIterator() -> some AsyncIteratorProtocol<[UInt8], BPFError> {
    RecordIterator(buffer: self)
  }
}

private struct RecordIterator: AsyncIteratorProtocol {
  let buffer: BPFRingBuffer

  mutating func next() async throws(BPFError) -> [UInt8]? { try await next(isolation: nil) }

  mutating func next(isolation actor: isolated (any Actor)?) async throws(BPFError) -> [UInt8]? {
    while !Task.isCancelled {
      if let record = try buffer.takeRecords(atMost: 1).first { return record }
      try await buffer.waitForRecords()
    }
    return nil
  }
}

/// The records of one call of libbpf. Guarded by the ring buffer's lock.
private final class Inbox: @unchecked Sendable {
  private var records: [[UInt8]] = []
  private var limit = 0
  /// The bytes that the records occupied in the buffer.
  private var taken = 0
  private let largest: Int

  init(largest: Int) { self.largest = largest }

  func begin(limit: Int) {
    self.limit = limit
    taken = 0
    records = []
  }

  func end() -> [[UInt8]] {
    defer { records = [] }
    return records
  }

  /// Returns the callback's result: 0 if there may be more records.
  func add(_ record: UnsafeRawBufferPointer) -> CInt {
    // The buffer is mapped twice in succession, so a record of up to the buffer's size is in the
    // mapping.
    guard record.count <= largest else { return -EBADMSG }
    unsafe records.append(Array(record))
    // A record has a header of eight bytes, and begins at a multiple of eight.
    taken += (record.count + 15) & ~7
    // libbpf marks this record as read before it stops.
    return records.count < limit && taken < largest ? 0 : -ECANCELED
  }
}

private func receive(
  _ context: UnsafeMutableRawPointer?,
  _ record: UnsafeMutableRawPointer?,
  _ size: Int
) -> CInt {
  guard let context = unsafe context, let record = unsafe record else { return 0 }
  let inbox = unsafe Unmanaged<Inbox>.fromOpaque(context).takeUnretainedValue()
  return unsafe inbox.add(UnsafeRawBufferPointer(start: record, count: size))
}
