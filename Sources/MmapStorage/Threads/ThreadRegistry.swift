internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import Synchronization

/// Knows which thread is attached to which storage, so that an attachment is given back when its
/// thread or its storage ends, whichever is first.
///
/// One lock guards it all. It is taken at a thread's first touch of a storage and at the end of
/// either, never on the hot path, and no system call is made under it but to close a descriptor.
final class ThreadRegistry: Sendable {
  static let shared = ThreadRegistry()

  private struct Storage {
    let slotIndex: Int
    let backend: any StorageBackend
    /// How often someone's value was removed.
    var removals = 0
  }

  private struct State {
    var nextKey: UInt64 = 2
    var slotUse = [Int](repeating: 0, count: MMS_SLOT_COUNT)
    var storages: [UInt64: Storage] = [:]
    var records: [ThreadID: ThreadRecord] = [:]
  }

  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var state = State()

  private init() {
    // A rehearsal: the child of a `fork` must not be the first to need some type's metadata, because
    // the runtime's lock for that may have been held by a thread that is not there any more.
    var nobody = State()
    Self.forgetParent(in: &nobody)
    ThreadRecord.prepare()
    _ = PidfdOpener.shared
    pthread_atfork(
      { ThreadRegistry.shared.lock.lock() },
      { ThreadRegistry.shared.lock.unlock() },
      {
        ThreadRegistry.forgetParent(in: &ThreadRegistry.shared.state)
        ThreadRecord.forgetCurrent()
        ThreadRegistry.shared.lock.unlock()
      }
    )
  }

  // MARK: Storages

  /// A key that no other storage of this process ever has (even; a storage that copies marks its
  /// slots with the odd number above), and the slot that the fewest others share.
  func addStorage(_ backend: any StorageBackend) -> (key: UInt64, slotOffset: UInt) {
    lock.withLock {
      let key = state.nextKey
      state.nextKey += 2
      let index = state.slotUse.indices.min { state.slotUse[$0] < state.slotUse[$1] } ?? 0
      state.slotUse[index] += 1
      state.storages[key] = Storage(slotIndex: index, backend: backend)
      return (key, slotOffset(index))
    }
  }

  /// Ends a storage: gives back the attachments of all threads.
  func removeStorage(_ key: UInt64) {
    let (storage, attached): (Storage?, [(ThreadRecord, ThreadAttachment)]) = lock.withLock {
      guard let storage = state.storages.removeValue(forKey: key) else { return (nil, []) }
      state.slotUse[storage.slotIndex] -= 1
      let attached = state.records.values.compactMap { record in
        record.attachments.remove(key).map { attachment in
          record.holds.add(1, ordering: .relaxed)
          return (record, attachment)
        }
      }
      return (storage, attached)
    }
    for (record, attachment) in attached {
      storage?.backend.detach(attachment.attachment, because: .storageEnds)
      record.holds.subtract(1, ordering: .releasing)
    }
  }

  // MARK: Threads

  func add(_ record: ThreadRecord) {
    // One that ended unnoticed: by the system call, say, and not by pthread_exit().
    if let old = lock.withLock({ state.records[record.id] }) { threadEnds(old) }
    lock.withLock { state.records[record.id] = record }
  }

  /// Gives back everything that an ending thread has. Runs on that thread, or on one that has its id.
  func threadEnds(_ record: ThreadRecord) {
    let attached: [(any StorageBackend, ThreadAttachment)] = lock.withLock {
      state.records[record.id] = nil
      defer { record.attachments = AttachmentList() }
      return record.attachments.all.compactMap { attachment in
        state.storages[attachment.key].map { ($0.backend, attachment) }
      }
    }
    for (backend, attachment) in attached {
      backend.detach(attachment.attachment, because: .threadEnds)
    }
    _ = record.pidfd.closeIfIdle()
    // Its id must stay its own until a storage that ends elsewhere has detached it.
    while record.holds.load(ordering: .acquiring) > 0 { sched_yield() }
  }

  // MARK: Attachments

  /// The calling thread's attachment to a storage, made on its first touch, and its slot filled.
  func attachment(
    to key: UInt64,
    slotOffset: UInt,
    backend: any StorageBackend,
    fields: [Range<Int>]
  ) throws(BPFError) -> ThreadAttachment {
    let record = try ThreadRecord.currentOrNew()
    let slot = mms_slot_at(slotOffset)

    let (existing, removals): (ThreadAttachment?, Int) = lock.withLock {
      let existing = record.attachments[key]
      if existing?.isStale == true {
        record.attachments.setStale(false, key)
      } else {
        existing?.fill(slot)
      }
      return (existing, state.storages[key]?.removals ?? 0)
    }
    var attachment: ThreadAttachment
    if let existing {
      guard existing.isStale else { return existing }
      do {
        try backend.renew(existing.attachment)
      } catch {
        lock.withLock { record.attachments.setStale(true, key) }
        throw error
      }
      attachment = existing
      attachment.isStale = false
    } else {
      let made = try backend.attach()
      attachment = ThreadAttachment(made, key: key, backend: backend, fields: fields)
    }
    lock.withLock {
      if existing == nil { record.attachments.insert(attachment) }
      // A removal that came in between may have been of what was attached just now.
      if state.storages[key]?.removals != removals {
        record.attachments.setStale(true, key)
      } else {
        attachment.fill(slot)
      }
    }
    return attachment
  }

  /// Makes a thread attach again at its next touch, because its storage was removed; all threads, if
  /// it cannot be told which one it is: renewing changes nothing where nothing was removed.
  func invalidate(_ key: UInt64, of task: TaskReference) {
    let thread = task.threadID
    lock.withLock {
      state.storages[key]?.removals += 1
      guard let storage = state.storages[key] else { return }
      func invalidate(_ record: ThreadRecord) {
        record.attachments.setStale(true, key)
        let slot = record.slots + storage.slotIndex
        if mms_slot_holds(slot, key) { mms_slot_clear(slot) }
      }
      if let thread {
        if let record = state.records[thread] { invalidate(record) }
      } else {
        state.records.values.forEach(invalidate)
      }
    }
  }

  // MARK: Descriptors

  /// Closes the cached pidfd of some thread that is not using it; tells whether it found one.
  func closeOneIdlePidfd() -> Bool {
    lock.withLock { state.records.values.contains { $0.pidfd.closeIfIdle() } }
  }

  // MARK: Fork

  /// In the child of a `fork`, which holds the lock: no thread but the calling one exists any more,
  /// and that one is unattached. What the parent's threads had attached is not given back: their
  /// pages may not be mapped here at all, and a view of the forking thread may be in use further up
  /// its stack. Each record is kept by its thread, which does not end here.
  private static func forgetParent(in state: inout State) {
    for record in state.records.values { record.pidfd.closeInChild() }
    state.records = [:]
  }
}
