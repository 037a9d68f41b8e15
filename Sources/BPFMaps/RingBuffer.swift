// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

/// The records of a ring buffer map (`BPF_MAP_TYPE_RINGBUF`, Linux 5.8), as values of one type.
///
/// ```swift
/// for try await event in try object.maps.events { … }
/// ```
///
/// Each record is read once, by one of the readers. May be used from any thread.
public struct RingBuffer<Record: MapField>: Sendable {
  private let buffer: BPFRingBuffer
  /// Records that were removed from the buffer and not returned yet.
  private let pending = ForkSafeMutex<ArraySlice<[UInt8]>>([])

  /// Maps the ring buffer. Does not check the type of the records. The size of each record is checked when it
  /// is read.
  ///
  /// - Throws: As `BPFRingBuffer.init(_:)`; ``BPFError/Kind/layoutUndescribed`` if `Record` cannot be
  ///   described.
  public init(_ map: BPFMap) throws(BPFError) {
    _ = try Record.fieldType()
    buffer = try BPFRingBuffer(map)
  }

  /// Removes records from the buffer and returns them, without waiting. Costs no system call.
  ///
  /// If a record is smaller than `Record`, returns the records before it. The next call throws for this record,
  /// and the call after that one continues with the records that follow.
  ///
  /// - Parameter limit: The largest number of records to take.
  /// - Returns: The records, oldest first; empty if there are none.
  /// - Throws: ``BPFError/Kind/layoutMismatch`` if the first record is smaller than `Record`; a system error.
  public func takeRecords(atMost limit: Int = .max) throws(BPFError) -> [Record] {
    try pending.withLock { (pending) throws(BPFError) in
      if pending.isEmpty { pending = try buffer.takeRecords(atMost: limit)[...] }
      var records: [Record] = []
      while records.count < limit, let bytes = pending.first {
        guard bytes.count >= MemoryLayout<Record>.size, !bytes.isEmpty else {
          if !records.isEmpty { break }
          pending.removeFirst()
          throw tooShort(bytes.count)
        }
        records.append(loadWhole(Record.self, from: bytes))
        pending.removeFirst()
      }
      return records
    }
  }

  private func tooShort(_ size: Int) -> BPFError {
    BPFError(
      .layoutMismatch,
      attempt: "read a record as \(Record.self) (\(MemoryLayout<Record>.size) bytes)",
      on: "ring buffer '\(buffer.map.name)'",
      advice: "it has \(size) bytes; use BPFRingBuffer for records of several types"
    )
  }

  fileprivate func waitForRecords() async throws(BPFError) { try await buffer.waitForRecords() }
}

extension RingBuffer: AsyncSequence {
  /// Returns an iterator over the records, from the oldest one that was not read. It waits for the next record,
  /// and ends when its Swift task is cancelled. It may be used again after it has thrown.
  public func makeAsyncIterator() -> some AsyncIteratorProtocol<Record, BPFError> {
    RecordIterator(ring: self)
  }
}

private struct RecordIterator<Record: MapField>: AsyncIteratorProtocol {
  let ring: RingBuffer<Record>

  mutating func next() async throws(BPFError) -> Record? { try await next(isolation: nil) }

  mutating func next(isolation actor: isolated (any Actor)?) async throws(BPFError) -> Record? {
    while !Task.isCancelled {
      if let record = try ring.takeRecords(atMost: 1).first { return record }
      try await ring.waitForRecords()
    }
    return nil
  }
}
