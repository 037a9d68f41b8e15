// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
package import LibBPF
internal import SystemPackage

/// Which thread is attached to which storage.
///
/// An attachment ends with its thread or with its storage, whichever is first. The registry also
/// fills the threads' slots, through which an attached thread reaches its value without a call.
///
/// One lock guards all of it. A thread acquires it at its first touch of a storage and at the end of
/// either, never when it is attached. The only system calls under it are `close` of an idle pidfd
/// and, where the tables of slots grow, one `tgkill` for each thread.
///
/// A process with several copies of the library has a registry for each copy. A storage uses the one
/// that it was added to.
package final class ThreadRegistry: Sendable {
  package static let shared = ThreadRegistry()

  /// Where the calling thread's block is; see mms_slots.h.
  let threadOffset = mms_thread_offset()

  /// What a slow path throws where it was interrupted by a signal handler that enters one. Made in
  /// advance, because the interrupted code may hold the allocator's lock.
  private let reentered = BPFError(
    .wrongState,
    attempt: "use task-local storage in a signal handler",
    on: "the thread that the signal interrupted",
    advice: "the signal interrupted a call of this library on the same thread; let the thread "
      + "attach before it receives signals, and use a backend with direct access"
  )

  private struct Storage {
    let access: ValueAccess
    /// How often a thread's value was removed.
    var removals = 0
  }

  private struct State {
    /// By index.
    var storages: [Storage?] = []
    /// The indices of `storages` that are free.
    var freeIndices: [Int] = []
    /// How many slots the table of each thread has.
    var capacity = 4
    var records: [ThreadID: ThreadRecord] = [:]
    /// The key whose destructor runs when a thread ends.
    var threadEndKey: pthread_key_t?
  }

  private let lock = ForkSafeLock()
  /// Signalled when `pendingDetaches` of a record becomes 0.
  private let isDetached = ForkSafeCondition()
  private nonisolated(unsafe) var state = State()

  private init() {
    // The destructor of the key must stay callable after dlclose().
    mms_pin_library()
    _ = PidfdOpener.shared
    rehearseFork()
    ForkParticipants.add(self, rank: .registry)
  }

  // MARK: Slow paths

  /// Runs `body` as a slow path: the thread cannot be cancelled meanwhile, and a signal handler
  /// that enters one as well gets an error.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` in such a handler, and what `body` throws.
  func withSlowPath<R: ~Copyable>(_ body: () throws(BPFError) -> R) throws(BPFError) -> R {
    let thread = mms_thread_at(threadOffset)
    var cancelState: Int32 = 0
    guard mms_slow_path_enter(thread, &cancelState) else { throw reentered }
    defer { mms_slow_path_leave(thread, cancelState) }
    return try body()
  }

  // MARK: Storages

  /// Adds a storage and returns its index.
  ///
  /// - Throws: ``BPFError/Kind/outOfResources`` for more than `MMS_SLOT_COUNT` storages at a time,
  ///   or without memory.
  func addStorage(
    _ access: ValueAccess,
    of object: @autoclosure () -> String
  ) throws(BPFError) -> Int {
    let attempt = "create a storage"
    guard ForkParticipants.isInstalled else {
      throw outOfMemory(attempt, on: object())
    }
    return try lock.withLock { () throws(BPFError) in
      if let index = state.freeIndices.popLast() {
        state.storages[index] = Storage(access: access)
        return index
      }
      let index = state.storages.count
      guard index < MMS_SLOT_COUNT else {
        throw BPFError(
          .outOfResources,
          attempt: attempt,
          on: object(),
          advice: "the process has \(MMS_SLOT_COUNT) storages already, and cannot have more"
        )
      }
      if index >= state.capacity {
        guard grow() else { throw outOfMemory(attempt, on: object()) }
      }
      state.storages.append(Storage(access: access))
      return index
    }
  }

  /// Ends a storage: ends the attachments of all threads, and frees the index.
  func removeStorage(at index: Int) {
    let (access, attached): (ValueAccess?, [(ThreadRecord, UnsafeMutableRawPointer)]) =
      lock.withLock {
        guard let storage = state.storages[index] else { return (nil, []) }
        var attached: [(ThreadRecord, UnsafeMutableRawPointer)] = []
        for record in state.records.values {
          guard let attachment = takeAttachment(of: record, at: index) else { continue }
          record.pendingDetaches += 1
          attached.append((record, attachment))
        }
        state.storages[index] = nil
        // No thread has anything in this slot any more.
        state.freeIndices.append(index)
        return (storage.access, attached)
      }
    for (record, attachment) in attached {
      access?.detach(attachment, of: record, because: .storageEnds)
      lock.withLock {
        record.pendingDetaches -= 1
        if record.pendingDetaches == 0 { isDetached.wakeAll() }
      }
    }
  }

  /// Doubles the tables of all threads; false if there is no memory. Only with the lock held.
  private func grow() -> Bool {
    let capacity = min(2 * state.capacity, Int(MMS_SLOT_COUNT))
    var tables: [UnsafeMutablePointer<mms_slot>] = []
    tables.reserveCapacity(state.records.count)
    for _ in 0..<state.records.count {
      guard let table = mms_slots_create(capacity) else {
        for table in tables { free(table) }
        return false
      }
      tables.append(table)
    }
    for (record, table) in zip(state.records.values, tables) {
      mms_slots_copy(table, record.slots, state.capacity)
      record.replaceSlots(with: table)
    }
    state.capacity = capacity
    return true
  }

  // MARK: Threads

  /// The calling thread's record, if it has one.
  var currentRecord: ThreadRecord? {
    mms_thread_at(threadOffset).pointee.record.map {
      Unmanaged<ThreadRecord>.fromOpaque($0).takeUnretainedValue()
    }
  }

  /// The calling thread's record. Creates it at the thread's first touch.
  ///
  /// - Throws: ``BPFError`` if the process has no memory or thread-specific data key left, or the
  ///   thread is in its last round of destructors.
  package func currentOrNewRecord() throws(BPFError) -> ThreadRecord {
    if let currentRecord { return currentRecord }
    let block = mms_thread_at(threadOffset)
    let attempt = "attach the thread"
    guard block.pointee.destructor_rounds < UInt32(PTHREAD_DESTRUCTOR_ITERATIONS) else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: "thread \(ThreadID.current)",
        advice: "it is ending: this is its last round of destructors of thread-specific data"
      )
    }
    let id = ThreadID.current
    // A thread that had this id and ended without running its destructors, such as by the exit
    // system call.
    if let old = record(of: id) { threadEnds(old) }
    return try lock.withLock { () throws(BPFError) in
      guard let slots = mms_slots_create(state.capacity) else {
        throw outOfMemory(attempt, on: "thread \(id)")
      }
      let record = ThreadRecord(id: id, slots: slots, block: block, registry: self)
      let pointer = Unmanaged.passUnretained(record).toOpaque()
      let result = notifyThreadEnd(with: pointer)
      guard result == 0 else {
        throw BPFError(
          .outOfResources,
          attempt: attempt,
          on: "thread \(id)",
          errno: Errno(rawValue: result),
          advice: "the process has used up its pthread keys (PTHREAD_KEYS_MAX) or its memory"
        )
      }
      _ = Unmanaged.passRetained(record)
      state.records[id] = record
      mms_thread_publish_slots(block, slots)
      block.pointee.record = pointer
      return record
    }
  }

  /// The record of a thread that has one.
  func record(of thread: ThreadID) -> ThreadRecord? {
    lock.withLock { state.records[thread] }
  }

  /// Has ``threadEnds(_:)`` called when the calling thread ends. Returns 0 or an error number. Only
  /// with the lock held.
  private func notifyThreadEnd(with record: UnsafeMutableRawPointer) -> Int32 {
    if state.threadEndKey == nil {
      var key = pthread_key_t()
      let result = pthread_key_create(&key) { pointer in
        guard let pointer else { return }
        let record = Unmanaged<ThreadRecord>.fromOpaque(pointer).takeRetainedValue()
        record.registry.currentThreadEnds(record)
      }
      guard result == 0 else { return result }
      state.threadEndKey = key
    }
    return state.threadEndKey.map { pthread_setspecific($0, record) } ?? EAGAIN
  }

  /// Runs as a destructor of the thread's own data.
  private func currentThreadEnds(_ record: ThreadRecord) {
    let block = mms_thread_at(threadOffset)
    block.pointee.destructor_rounds += 1
    // First, so that a later destructor of the program's own that touches a storage attaches anew.
    forget(block)
    var cancelState: Int32 = 0
    let isEntered = mms_slow_path_enter(block, &cancelState)
    threadEnds(record)
    if isEntered { mms_slow_path_leave(block, cancelState) }
  }

  /// Ends all attachments of a thread. Runs on that thread, or on one that has its id.
  private func threadEnds(_ record: ThreadRecord) {
    let attached: [(ValueAccess, UnsafeMutableRawPointer)] = lock.withLock {
      state.storages.indices.compactMap { index in
        guard let storage = state.storages[index],
          let attachment = takeAttachment(of: record, at: index)
        else { return nil }
        return (storage.access, attachment)
      }
    }
    for (access, attachment) in attached {
      access.detach(attachment, of: record, because: .threadEnds)
    }
    _ = record.pidfd.closeIfIdle()
    lock.withLock {
      // The thread's id must stay its own until others have detached it.
      while record.pendingDetaches > 0 { lock.wait(for: isDetached) }
      if state.records[record.id] === record { state.records[record.id] = nil }
    }
  }

  /// Makes the calling thread unattached without ending anything.
  private func forget(_ block: UnsafeMutablePointer<mms_thread>) {
    mms_thread_publish_slots(block, mms_empty_slots())
    block.pointee.record = nil
    if let key = state.threadEndKey { pthread_setspecific(key, nil) }
  }

  // MARK: Attachments

  /// Clears a slot, and returns what was attached through it. Only with the lock held.
  private func takeAttachment(of record: ThreadRecord, at index: Int) -> UnsafeMutableRawPointer? {
    let slot = record.slots + index
    guard let attachment = mms_slot_attachment(slot) else { return nil }
    mms_slot_set_direct(slot, nil)
    mms_slot_set_attachment(slot, nil)
    return attachment
  }

  /// The calling thread's address of its value, which it attaches at its first touch, or again after
  /// a removal. From then on its slot contains the address.
  ///
  /// Only in a slow path, and while the storage exists.
  func attach(
    at index: Int,
    _ backend: any DirectBackend
  ) throws(BPFError) -> UnsafeMutableRawPointer {
    let record = try currentOrNewRecord()
    let (existing, removals): (Attachment?, Int) = lock.withLock {
      let slot = record.slots + index
      let existing = Attachment(word: mms_slot_attachment(slot))
      if let existing, existing.isStale {
        mms_slot_set_attachment(slot, existing.address)
      }
      return (existing, state.storages[index]?.removals ?? 0)
    }
    let address: UnsafeMutableRawPointer
    if let existing {
      address = existing.address
      if existing.isStale {
        do throws(BPFError) {
          try backend.renew(address, of: record)
        } catch {
          lock.withLock { mms_slot_set_attachment(record.slots + index, existing.word) }
          throw error
        }
      }
    } else {
      try backend.observer?.willAttach()
      do throws(BPFError) {
        address = try backend.attach(record)
      } catch {
        backend.observer?.didDetach(record.id, because: .storageEnds)
        throw error
      }
    }
    lock.withLock {
      let slot = record.slots + index
      // A removal meanwhile may have been of what was attached just now.
      let isStale = state.storages[index]?.removals != removals
      mms_slot_set_attachment(slot, Attachment(address: address, isStale: isStale).word)
      mms_slot_set_direct(slot, isStale ? nil : address)
    }
    return address
  }

  /// The calling thread's copy of its value, which it allocates at its first touch.
  ///
  /// Only in a slow path, and while the storage exists.
  func copy(
    at index: Int,
    _ backend: any CopyingBackend,
    fields: [Range<Int>]
  ) throws(BPFError) -> Unmanaged<CopiedValue> {
    // Only the thread itself fills the slot, and the storage's end would clear it.
    let slots = mms_thread_slots(mms_thread_at(threadOffset))
    if let existing = mms_slot_attachment(slots + index) { return .fromOpaque(existing) }
    let record = try currentOrNewRecord()
    try backend.observer?.willAttach()
    let value = Unmanaged.passRetained(
      CopiedValue(backend: backend, registry: self, fields: fields)
    )
    lock.withLock { mms_slot_set_attachment(record.slots + index, value.toOpaque()) }
    return value
  }

  /// Has a thread attach again at its next touch, because its value was removed; all threads, if
  /// nil, where it is not known which: attaching again changes nothing where nothing was removed.
  func invalidate(at index: Int, of thread: ThreadID?) {
    lock.withLock {
      guard case .direct = state.storages[index]?.access else { return }
      state.storages[index]?.removals += 1
      if let thread {
        if let record = state.records[thread] { invalidate(at: index, of: record) }
      } else {
        for record in state.records.values { invalidate(at: index, of: record) }
      }
    }
  }

  /// Has all threads attach again to the storages whose backend has this observer.
  package func invalidateStorages(observedBy observer: any AttachmentObserver) {
    let indices = lock.withLock {
      state.storages.indices.filter { state.storages[$0]?.access.observer === observer }
    }
    for index in indices { invalidate(at: index, of: nil) }
  }

  /// Only with the lock held, and for a direct backend.
  private func invalidate(at index: Int, of record: ThreadRecord) {
    let slot = record.slots + index
    guard let attachment = Attachment(word: mms_slot_attachment(slot)) else { return }
    mms_slot_set_direct(slot, nil)
    mms_slot_set_attachment(slot, Attachment(address: attachment.address, isStale: true).word)
  }

  // MARK: User pages

  /// The pages that a thread shares with the kernel, which are created if there are none.
  func pages(of record: ThreadRecord) -> UserPages {
    lock.withLock {
      if let pages = record.pages { return pages }
      let pages = UserPages()
      record.pages = pages
      return pages
    }
  }

  /// The pages that a thread of this process shares with the kernel, if it has any.
  func existingPages(of thread: ThreadID) -> UserPages? {
    lock.withLock { state.records[thread]?.pages }
  }

  // MARK: Descriptors

  /// Closes the cached pidfd of a thread that is not using it; returns whether there was one.
  func closeOneIdlePidfd() -> Bool {
    lock.withLock { state.records.values.contains { $0.pidfd.closeIfIdle() } }
  }

  private func outOfMemory(_ attempt: String, on object: String) -> BPFError {
    BPFError(errno: .noMemory, attempt: attempt, on: object, advice: "the process is out of memory")
  }
}

extension ThreadRegistry: ForkParticipant {
  package func prepareForFork() { lock.lock() }

  package func resumeInParent() { lock.unlock() }

  /// The child has one thread, which is unattached. What the parent's threads had attached is not
  /// given back: pages may not be mapped here, and the forking thread may be using a view. The
  /// threads, which do not end here, keep their records.
  package func resumeInChild() {
    forgetParent(&state)
    forget(mms_thread_at(threadOffset))
    isDetached.reset()
    lock.unlock()
  }

  private func forgetParent(_ state: inout State) {
    for record in state.records.values { record.pidfd.closeInChild() }
    state.records = [:]
  }

  /// Does what the child of a `fork` does, so that the Swift runtime has created all metadata before.
  private func rehearseFork() {
    var nothing = State()
    forgetParent(&nothing)
  }
}

/// What a slot says about an attachment to a direct backend: the value's address, whose lowest bit
/// is set if the value was removed and the thread has to attach again.
private struct Attachment {
  var address: UnsafeMutableRawPointer
  var isStale: Bool

  init(address: UnsafeMutableRawPointer, isStale: Bool) {
    self.address = address
    self.isStale = isStale
  }

  init?(word: UnsafeMutableRawPointer?) {
    guard let word else { return nil }
    isStale = UInt(bitPattern: word) & 1 != 0
    address = isStale ? word - 1 : word
  }

  var word: UnsafeMutableRawPointer { isStale ? address + 1 : address }
}

extension ValueAccess {
  fileprivate var observer: (any AttachmentObserver)? {
    switch self {
    case .direct(let backend): backend.observer
    case .copying(let backend): backend.observer
    }
  }

  /// Ends an attachment that a slot contained.
  fileprivate func detach(
    _ word: UnsafeMutableRawPointer,
    of record: ThreadRecord,
    because reason: DetachReason
  ) {
    switch self {
    case .direct(let backend):
      guard let attachment = Attachment(word: word) else { return }
      backend.detach(attachment.address, of: record, because: reason)
      backend.observer?.didDetach(record.id, because: reason)
    case .copying(let backend):
      Unmanaged<CopiedValue>.fromOpaque(word).release()
      backend.observer?.didDetach(record.id, because: reason)
    }
  }
}
