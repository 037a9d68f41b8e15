// SPDX-License-Identifier: Apache-2.0
public import CLibBPFShim
public import LibBPF

extension StorageView {
  /// Reads fields that belong together, protected by a sequence counter.
  ///
  /// The writer of the fields makes the counter odd before it writes, and even again afterwards. On
  /// the BPF side:
  ///
  /// ```c
  /// __sync_fetch_and_add(&value->sequence, 1);
  /// value->start = start;
  /// value->end = end;
  /// __sync_fetch_and_add(&value->sequence, 1);
  /// ```
  ///
  /// `body` is repeated until no write overlaps with it, so it should only read and return.
  ///
  /// With a backend that copies, each attempt loads the storage three times: for the counter, the
  /// fields, and the counter again. Earlier changes of the view are kept.
  ///
  /// - Parameters:
  ///   - sequence: The counter.
  ///   - attempts: The maximum number of attempts. At least one is made.
  ///   - body: Reads the fields.
  /// - Returns: The result of `body` from the attempt that no write overlapped with.
  /// - Throws: ``BPFError`` of kind ``BPFError/Kind/contended`` if a write overlapped with every
  ///   attempt. With a backend that copies, also the errors of loading.
  @inlinable
  public func withSeqcountRead<Counter: MapScalar & FixedWidthInteger, Result>(
    sequence: KeyPath<Value, Counter>,
    attempts: Int = 1_000,
    _ body: (borrowing StorageView<Value>) -> Result
  ) throws(BPFError) -> Result {
    let counter = address(of: sequence)
    for _ in 0..<max(attempts, 1) {
      try copy?.reload()
      let before = counter.loadAcquire(as: Counter.self)
      try copy?.reload()
      let result = body(self)
      mms_fence_acquire()
      try copy?.reload()
      let after = counter.load(as: Counter.self)
      if before == after, before & 1 == 0 { return result }
    }
    throw BPFError(
      .contended,
      attempt: "read fields consistently",
      on: "a \(Value.self)",
      advice: "the sequence counter was odd or changed in each of \(max(attempts, 1)) attempts; "
        + "check that its writer leaves it even, or allow more attempts"
    )
  }

  /// Writes fields that belong together, for readers that use the same sequence counter: makes the
  /// counter odd, runs `body`, and makes the counter even.
  ///
  /// The calling thread must be the only writer of the counter. With a backend that copies, readers
  /// see all changes at once when the outermost view ends.
  ///
  /// - Parameters:
  ///   - sequence: The counter.
  ///   - body: Writes the fields.
  /// - Returns: The result of `body`.
  @inlinable
  @inline(__always)
  public func withSeqcountWrite<Counter: MapScalar & FixedWidthInteger, Result>(
    sequence: WritableKeyPath<Value, Counter>,
    _ body: (borrowing StorageView<Value>) -> Result
  ) -> Result {
    let counter = address(of: sequence)
    let start = counter.load(as: Counter.self) | 1
    counter.store(start)
    mms_fence_release()
    let result = body(self)
    counter.storeRelease(start &+ 1)
    return result
  }
}
