internal import CLibBPFShim
internal import Glibc
internal import Synchronization

/// Knows which thread is attached to which storage, so that an attachment is given back when its
/// thread or its storage ends, whichever is first.
///
/// One lock guards it all. It is taken at a thread's first touch of a storage and at the end of
/// either, never on the hot path, and no system call is made under it but to close a descriptor.
final class ThreadRegistry: Sendable {
  static let shared = ThreadRegistry()

  private struct Storage {
    var slotIndex: Int
    /// How often someone's value was removed.
    var removals = 0
    var attachments: [ObjectIdentifier: ThreadAttachment] = [:]
  }

  private struct State {
    var nextKey: UInt64 = 2
    var slotUse = [Int](repeating: 0, count: MMS_SLOT_COUNT)
    var storages: [UInt64: Storage] = [:]
    var records: [ObjectIdentifier: ThreadRecord] = [:]
    var recordOfThread: [ThreadID: ObjectIdentifier] = [:]
  }

  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var state = State()

  private init() {
    // A rehearsal: the child of a `fork` must not be the first to need some type's metadata, because
    // the runtime's lock for that may have been held by a thread that is not there any more.
    var nobody = State()
    Self.forgetParent(in: &nobody)
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
  func addStorage() -> (key: UInt64, slotOffset: UInt) {
    lock.withLock {
      let key = state.nextKey
      state.nextKey += 2
      let index = state.slotUse.indices.min { state.slotUse[$0] < state.slotUse[$1] } ?? 0
      state.slotUse[index] += 1
      state.storages[key] = Storage(slotIndex: index)
      return (key, slotOffset(index))
    }
  }

  /// Ends a storage: gives back the attachments of all threads.
  func removeStorage(_ key: UInt64) {
    let attachments: [(ThreadRecord?, ThreadAttachment)] = lock.withLock {
      guard let storage = state.storages.removeValue(forKey: key) else { return [] }
      state.slotUse[storage.slotIndex] -= 1
      return storage.attachments.map { id, attachment in
        let record = state.records[id]
        record?.storageKeys.remove(key)
        record?.holds.add(1, ordering: .relaxed)
        return (record, attachment)
      }
    }
    for (record, attachment) in attachments {
      attachment.detach(because: .storageEnds)
      record?.holds.subtract(1, ordering: .releasing)
    }
  }

  // MARK: Threads

  func add(_ record: ThreadRecord) {
    lock.withLock {
      let id = ObjectIdentifier(record)
      state.records[id] = record
      state.recordOfThread[record.id] = id
    }
  }

  /// Gives back everything that an ending thread has. Runs on that thread.
  func threadEnds(_ record: ThreadRecord) {
    let attachments: [ThreadAttachment] = lock.withLock {
      let id = ObjectIdentifier(record)
      state.records.removeValue(forKey: id)
      if state.recordOfThread[record.id] == id { state.recordOfThread[record.id] = nil }
      return record.storageKeys.compactMap {
        state.storages[$0]?.attachments.removeValue(forKey: id)
      }
    }
    for attachment in attachments { attachment.detach(because: .threadEnds) }
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
  ) throws(StorageError) -> ThreadAttachment {
    let record = try ThreadRecord.currentOrNew()
    let id = ObjectIdentifier(record)
    let slot = mms_slot_at(slotOffset)

    let (existing, wasStale, removals): (ThreadAttachment?, Bool, Int) = lock.withLock {
      guard let storage = state.storages[key] else { return (nil, false, 0) }
      guard let existing = storage.attachments[id] else { return (nil, false, storage.removals) }
      let wasStale = existing.isStale
      existing.isStale = false
      if !wasStale { existing.fill(slot, key: key) }
      return (existing, wasStale, storage.removals)
    }
    let attachment: ThreadAttachment
    if let existing {
      guard wasStale else { return existing }
      do {
        try backend.renew(existing.attachment)
      } catch {
        lock.withLock { existing.isStale = true }
        throw error
      }
      attachment = existing
    } else {
      attachment = ThreadAttachment(try backend.attach(), backend: backend, fields: fields)
    }
    lock.withLock {
      // A removal that came in between may have been of what was attached just now.
      if state.storages[key]?.removals != removals { attachment.isStale = true }
      state.storages[key]?.attachments[id] = attachment
      record.storageKeys.insert(key)
      if !attachment.isStale { attachment.fill(slot, key: key) }
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
      func invalidate(_ id: ObjectIdentifier) {
        guard let attachment = storage.attachments[id], case .direct = attachment.content,
          let record = state.records[id]
        else { return }
        attachment.isStale = true
        let slot = record.slots + storage.slotIndex
        if mms_slot_holds(slot, key) { mms_slot_clear(slot) }
      }
      if let thread {
        if let id = state.recordOfThread[thread] { invalidate(id) }
      } else {
        storage.attachments.keys.forEach(invalidate)
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
  /// pages may not be mapped here at all.
  private static func forgetParent(in state: inout State) {
    for record in state.records.values { record.pidfd.closeInChild() }
    for key in state.storages.keys {
      for attachment in state.storages[key]?.attachments.values ?? [:].values {
        // A view of the forking thread may be in use further up its stack.
        _ = Unmanaged.passRetained(attachment)
      }
      state.storages[key]?.attachments = [:]
    }
    state.records = [:]
    state.recordOfThread = [:]
  }
}
