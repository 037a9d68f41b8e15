public import CLibBPFShim
public import LibBPF

extension StorageView {
  /// Reads several fields that belong together, with a sequence counter that their writer keeps:
  /// odd while it writes, two higher after each write.
  ///
  /// `body` runs again until no write fell into it, so let it only read and return. On the BPF side
  /// the writer is
  ///
  /// ```c
  /// __sync_fetch_and_add(&value->sequence, 1);
  /// value->start = start;
  /// value->end = end;
  /// __sync_fetch_and_add(&value->sequence, 1);
  /// ```
  ///
  /// With a backend that copies, each attempt loads the storage three times: the counter, the
  /// fields, the counter. What the view changed before is kept.
  ///
  /// - Parameters:
  ///   - sequence: The counter.
  ///   - attempts: How often to try, at least once.
  ///   - body: Reads the fields.
  /// - Returns: What `body` returned in the attempt that no write disturbed.
  /// - Throws: ``BPFError`` with ``BPFError/Kind/contended`` if every attempt was disturbed;
  ///   the errors of loading with a backend that copies.
  @inlinable
  public func readConsistently<Counter: MapScalar & FixedWidthInteger, Result>(
    sequence: KeyPath<Value, Counter>,
    attempts: Int = 1_000,
    _ body: (borrowing StorageView<Value>) -> Result
  ) throws(BPFError) -> Result {
    let counter = address + MemoryLayout<Value>.fieldOffset(of: sequence)
    for _ in 0..<max(attempts, 1) {
      try copy?.reload()
      let before = Counter.Bits._loadAcquire(counter)
      try copy?.reload()
      let result = body(self)
      mms_fence_acquire()
      try copy?.reload()
      let after = Counter.Bits._load(counter)
      if before == after, before & 1 == 0 { return result }
    }
    throw BPFError(
      .contended,
      attempt: "read fields consistently",
      on: "a \(Value.self)",
      advice: "the sequence counter was odd or changed in every one of \(max(attempts, 1)) "
        + "attempts; see that its writer leaves it even, or allow more attempts"
    )
  }

  /// Writes several fields that belong together, for readers that use the same sequence counter:
  /// makes it odd, runs `body`, makes it even.
  ///
  /// The thread must be the only writer of these fields. With a backend that copies, readers see
  /// all of it at once when the outermost view ends.
  @inlinable
  @inline(__always)
  public func writeConsistently<Counter: MapScalar & FixedWidthInteger, Result>(
    sequence: WritableKeyPath<Value, Counter>,
    _ body: (borrowing StorageView<Value>) -> Result
  ) -> Result {
    let counter = address + MemoryLayout<Value>.fieldOffset(of: sequence)
    let start = Counter.Bits._load(counter) | 1
    Counter.Bits._store(counter, start)
    mms_fence_release()
    let result = body(self)
    Counter.Bits._storeRelease(counter, start &+ 1)
    return result
  }
}
