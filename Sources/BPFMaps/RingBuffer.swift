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

  /// Maps the ring buffer. Does not check the type of the records. The size of each record is checked when it
  /// is read.
  ///
  /// - Throws: As `BPFRingBuffer.init(_:)`; ``BPFError/Kind/layoutUndescribed`` if `Record` cannot be
  ///   described.
  public init(_ map: BPFMap) throws(BPFError) {
    _ = try Record.fieldType()
    buffer = try BPFRingBuffer(map)
  }

  /// Removes records from the buffer and returns them, without waiting.
  ///
  /// - Parameter limit: The largest number of records to take.
  /// - Returns: The records, oldest first; empty if there are none.
  /// - Throws: ``BPFError/Kind/layoutMismatch`` if a record is smaller than `Record`, and the other records that
  ///   the call removed are lost; a system error.
  public func takeRecords(atMost limit: Int = .max) throws(BPFError) -> [Record] {
    var records: [Record] = []
    for bytes in try buffer.takeRecords(atMost: limit) { records.append(try decode(bytes)) }
    return records
  }

  fileprivate func decode(_ bytes: [UInt8]) throws(BPFError) -> Record {
    guard bytes.count >= MemoryLayout<Record>.size, !bytes.isEmpty else {
      throw BPFError(
        .layoutMismatch,
        attempt: "read a record as \(Record.self) (\(MemoryLayout<Record>.size) bytes)",
        on: "ring buffer '\(buffer.map.name)'",
        advice: "it has \(bytes.count) bytes; use BPFRingBuffer for records of several types"
      )
    }
    return loadWhole(Record.self, from: bytes)
  }
}

extension RingBuffer: AsyncSequence {
  /// Returns an iterator over the records, from the oldest one that was not read. It waits for the next record,
  /// and ends when its Swift task is cancelled.
  public func makeAsyncIterator() -> some AsyncIteratorProtocol<Record, BPFError> {
    RecordIterator(ring: self, iterator: buffer.makeAsyncIterator())
  }
}

private struct RecordIterator<Record: MapField, Iterator>: AsyncIteratorProtocol
where Iterator: AsyncIteratorProtocol<[UInt8], BPFError> {
  let ring: RingBuffer<Record>
  var iterator: Iterator

  mutating func next() async throws(BPFError) -> Record? { try await next(isolation: nil) }

  mutating func next(isolation actor: isolated (any Actor)?) async throws(BPFError) -> Record? {
    guard let bytes = try await iterator.next(isolation: actor) else { return nil }
    return try ring.decode(bytes)
  }
}
