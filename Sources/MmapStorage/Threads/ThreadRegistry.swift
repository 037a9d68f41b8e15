// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
package import LibBPF
internal import MapValues
internal import SystemPackage

// Invariant: `state`, and tables and attachments of records, are accessed with the lock held. Each
// table has `state.capacity` slots, and each index of a storage is smaller.

/// The attachments of threads to storages.
///
/// An attachment ends with its thread or its storage, whichever ends first. The registry also fills
/// the threads' slots, through which an attached thread reads the address of its value without a
/// call.
///
/// One lock guards all state. A thread acquires it at its first touch of a storage and at the end
/// of the thread or the storage, never while it is attached. The only system calls with the lock
/// held are `close` of an idle pidfd and, when the tables of slots grow, `getpid` and `tgkill` for
/// each thread.
///
/// A process with several copies of the library has a registry for each copy. A storage uses the one
/// that it was added to.
package final class ThreadRegistry: Sendable {
  package static let shared = ThreadRegistry()

  /// The offset of the calling thread's block; see mms_slots.h.
  let threadOffset = mms_thread_offset()

  /// The error of a slow path in a signal handler that interrupted a slow path. Created in advance,
  /// because the interrupted code may hold the allocator's lock.
  private let reentered = BPFError(
    .wrongState,
    attempt: "use task-local storage in a signal handler",
    on: "the thread that the signal interrupted",
    advice: "the signal interrupted a call of this library on the same thread; let the thread "
      + "attach before it receives signals, and use a backend with direct access"
  )

  private struct Storage {
    let access: ValueAccess
    /// The number of removals of values.
    var removals = 0
  }

  private struct State {
    /// By index.
    var storages: [Storage?] = []
    /// The free indices in `storages`.
    var freeIndices: [Int] = []
    /// The number of slots in the table of each thread.
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

  /// Runs `body` as a slow path: disables cancellation of the thread, and throws in a signal handler
  /// that interrupted a slow path.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` in such a handler, and the errors of `body`.
  func withSlowPath<R: ~Copyable>(_ body: () throws(BPFError) -> R) throws(BPFError) -> R {
    let thread = unsafe mms_thread_at(threadOffset)
    var cancelState: Int32 = 0
    guard unsafe mms_slow_path_enter(thread, &cancelState) else { throw reentered }
    defer { unsafe mms_slow_path_leave(thread, cancelState) }
    return try body()
  }

  /// The same for callers that cannot throw: in a handler that interrupted a slow path, `body` runs
  /// as well, and may deadlock.
  private func uninterrupted(_ body: () -> Void) {
    let thread = unsafe mms_thread_at(threadOffset)
    var cancelState: Int32 = 0
    let isEntered = unsafe mms_slow_path_enter(thread, &cancelState)
    body()
    if isEntered { unsafe mms_slow_path_leave(thread, cancelState) }
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
      if let index = unsafe state.freeIndices.popLast() {
        unsafe state.storages[index] = Storage(access: access)
        return index
      }
      let index = unsafe state.storages.count
      guard index < MMS_SLOT_COUNT else {
        throw BPFError(
          .outOfResources,
          attempt: attempt,
          on: object(),
          advice: "the process has \(MMS_SLOT_COUNT) storages, which is the maximum"
        )
      }
      if unsafe index >= state.capacity {
        guard grow() else { throw outOfMemory(attempt, on: object()) }
      }
      unsafe state.storages.append(Storage(access: access))
      return index
    }
  }

  /// Ends a storage: ends the attachments of all threads, and frees the index. A slow path.
  func removeStorage(at index: Int) { uninterrupted { removeStorageInSlowPath(at: index) } }

  private func removeStorageInSlowPath(at index: Int) {
    let (access, attached): (ValueAccess?, [(ThreadRecord, UnsafeMutableRawPointer)]) =
      unsafe lock.withLock {
        guard let storage = unsafe state.storages[index] else { return unsafe (nil, []) }
        var attached: [(ThreadRecord, UnsafeMutableRawPointer)] = unsafe []
        for record in unsafe state.records.values {
          guard let attachment = unsafe clearAttachment(of: record, at: index) else { continue }
          unsafe record.pendingDetaches += 1
          unsafe attached.append((record, attachment))
        }
        unsafe state.storages[index] = nil
        // No thread has an attachment in this slot now.
        unsafe state.freeIndices.append(index)
        return unsafe (storage.access, attached)
      }
    unsafe attached.forEach { record, attachment in
      unsafe access?.detach(attachment, of: record, because: .storageEnds)
      lock.withLock {
        unsafe record.pendingDetaches -= 1
        if unsafe record.pendingDetaches == 0 { isDetached.wakeAll() }
      }
    }
  }

  /// Doubles the tables of all threads. Returns false if there is no memory. The caller holds the
  /// lock.
  private func grow() -> Bool {
    let capacity = unsafe min(2 * state.capacity, Int(MMS_SLOT_COUNT))
    var tables: [UnsafeMutablePointer<mms_slot>] = unsafe []
    unsafe tables.reserveCapacity(state.records.count)
    for _ in unsafe 0..<state.records.count {
      guard let table = unsafe createSlots(capacity) else {
        unsafe tables.forEach { unsafe free($0) }
        return false
      }
      unsafe tables.append(table)
    }
    unsafe zip(state.records.values, tables).forEach { record, table in
      unsafe mms_slots_copy(table, record.slots, state.capacity)
      unsafe record.replaceSlots(with: table)
    }
    unsafe state.capacity = capacity
    return true
  }

  // MARK: Threads

  /// The calling thread's record, if it has one.
  var currentRecord: ThreadRecord? {
    unsafe mms_thread_at(threadOffset).pointee.record.map {
      unsafe Unmanaged<ThreadRecord>.fromOpaque($0).takeUnretainedValue()
    }
  }

  /// The calling thread's record. Creates it at the thread's first touch.
  ///
  /// - Throws: ``BPFError`` if the process has no memory or thread-specific data key left, or the
  ///   thread is in its last round of destructors.
  package func currentOrNewRecord() throws(BPFError) -> ThreadRecord {
    if let currentRecord { return currentRecord }
    let block = unsafe mms_thread_at(threadOffset)
    let attempt = "attach the thread"
    guard unsafe block.pointee.destructor_rounds < UInt32(PTHREAD_DESTRUCTOR_ITERATIONS) else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: "thread \(ThreadID.current)",
        advice: "it is ending, in its last round of destructors of thread-specific data"
      )
    }
    let id = ThreadID.current
    // A record of an earlier thread with this id that ended without running its destructors, such
    // as by the exit system call.
    if let old = record(of: id) { threadEnds(old) }
    return try lock.withLock { () throws(BPFError) in
      guard let slots = unsafe createSlots(state.capacity) else {
        throw outOfMemory(attempt, on: "thread \(id)")
      }
      let record = unsafe ThreadRecord(id: id, slots: slots, block: block, registry: self)
      let pointer = unsafe Unmanaged.passUnretained(record).toOpaque()
      let result = unsafe notifyThreadEnd(with: pointer)
      guard result == 0 else {
        throw BPFError(
          .outOfResources,
          attempt: attempt,
          on: "thread \(id)",
          errno: Errno(rawValue: result),
          advice: "the process has used up its pthread keys (PTHREAD_KEYS_MAX) or its memory"
        )
      }
      _ = unsafe Unmanaged.passRetained(record)
      unsafe state.records[id] = record
      unsafe mms_thread_publish_slots(block, slots)
      unsafe block.pointee.record = pointer
      return record
    }
  }

  /// The record of a thread, if it has one.
  func record(of thread: ThreadID) -> ThreadRecord? {
    lock.withLock { unsafe state.records[thread] }
  }

  /// Registers ``threadEnds(_:)`` to run when the calling thread ends. Returns 0 or an error
  /// number. The caller holds the lock.
  private func notifyThreadEnd(with record: UnsafeMutableRawPointer) -> Int32 {
    if unsafe state.threadEndKey == nil {
      var key = pthread_key_t()
      let result = unsafe pthread_key_create(&key) { pointer in
        guard let pointer = unsafe pointer else { return }
        let record = unsafe Unmanaged<ThreadRecord>.fromOpaque(pointer).takeRetainedValue()
        record.registry.currentThreadEnds(record)
      }
      guard result == 0 else { return result }
      unsafe state.threadEndKey = key
    }
    return unsafe state.threadEndKey.map { unsafe pthread_setspecific($0, record) } ?? EAGAIN
  }

  /// The destructor of the thread-specific data.
  private func currentThreadEnds(_ record: ThreadRecord) {
    let block = unsafe mms_thread_at(threadOffset)
    unsafe block.pointee.destructor_rounds += 1
    uninterrupted {
      // First, so that a later destructor that touches a storage attaches the thread again.
      lock.withLock {
        unsafe record.hasLeftItsBlock = true
        unsafe forget(block)
      }
      threadEnds(record)
    }
  }

  /// Ends all attachments of a thread. Runs on that thread, or on a later thread with its id.
  private func threadEnds(_ record: ThreadRecord) {
    let attached: [(ValueAccess, UnsafeMutableRawPointer)] = unsafe lock.withLock {
      unsafe state.storages.indices.compactMap { index in
        guard let storage = unsafe state.storages[index],
          let attachment = unsafe clearAttachment(of: record, at: index)
        else { return nil }
        return unsafe (storage.access, attachment)
      }
    }
    unsafe attached.forEach { access, attachment in
      unsafe access.detach(attachment, of: record, because: .threadEnds)
    }
    _ = record.pidfd.closeIfIdle()
    lock.withLock {
      // The thread's id must not be reused before other threads have detached it.
      while unsafe record.pendingDetaches > 0 { lock.wait(for: isDetached) }
      if unsafe state.records[record.id] === record { unsafe state.records[record.id] = nil }
    }
  }

  /// Makes the calling thread unattached without ending its attachments.
  private func forget(_ block: UnsafeMutablePointer<mms_thread>) {
    unsafe mms_thread_publish_slots(block, mms_empty_slots())
    unsafe block.pointee.record = nil
    if let key = unsafe state.threadEndKey { pthread_setspecific(key, nil) }
  }

  // MARK: Attachments

  /// Clears a slot, and returns its attachment. The caller holds the lock.
  private func clearAttachment(of record: ThreadRecord, at index: Int) -> UnsafeMutableRawPointer? {
    let slot = unsafe record.slots + index
    guard let attachment = unsafe mms_slot_attachment(slot) else { return nil }
    unsafe mms_slot_set_direct(slot, nil)
    unsafe mms_slot_set_attachment(slot, nil)
    return unsafe attachment
  }

  /// Returns the address of the calling thread's value. Attaches the thread at its first touch, and
  /// again after a removal. Sets the slot to the address.
  ///
  /// Only in a slow path, and while the storage exists.
  func attach(
    at index: Int,
    _ backend: any DirectBackend
  ) throws(BPFError) -> UnsafeMutableRawPointer {
    let record = try currentOrNewRecord()
    let (existing, removals): (Attachment?, Int) = lock.withLock {
      let slot = unsafe record.slots + index
      let existing = unsafe Attachment(word: mms_slot_attachment(slot))
      if let existing, existing.isStale {
        unsafe mms_slot_set_attachment(slot, existing.address)
      }
      return unsafe (existing, state.storages[index]?.removals ?? 0)
    }
    let address: UnsafeMutableRawPointer
    if let existing {
      unsafe address = existing.address
      if existing.isStale {
        do throws(BPFError) {
          try unsafe backend.renew(address, of: record)
        } catch {
          lock.withLock { unsafe mms_slot_set_attachment(record.slots + index, existing.word) }
          throw error
        }
      }
    } else {
      try backend.observer?.willAttach()
      do throws(BPFError) {
        unsafe address = try unsafe backend.attach(record)
      } catch {
        backend.observer?.didDetach(record.id, because: .storageEnds)
        throw error
      }
    }
    lock.withLock {
      let slot = unsafe record.slots + index
      // A concurrent removal may have removed the value of this attachment.
      let isStale = unsafe state.storages[index]?.removals != removals
      unsafe mms_slot_set_attachment(slot, Attachment(address: address, isStale: isStale).word)
      unsafe mms_slot_set_direct(slot, isStale ? nil : address)
    }
    return unsafe address
  }

  /// Returns the calling thread's copy of its value. Allocates it at the first touch.
  ///
  /// Only in a slow path, and while the storage exists.
  func copy(
    at index: Int,
    _ backend: any CopyingBackend,
    fields: [Range<Int>]
  ) throws(BPFError) -> Unmanaged<CopiedValue> {
    // Only the thread itself fills the slot, and the storage's end would clear it.
    let slots = unsafe mms_thread_slots(mms_thread_at(threadOffset))
    if let existing = unsafe mms_slot_attachment(slots + index) {
      return unsafe .fromOpaque(existing)
    }
    let record = try currentOrNewRecord()
    try backend.observer?.willAttach()
    let value = unsafe Unmanaged.passRetained(
      CopiedValue(backend, fields: fields) { body throws(BPFError) in
        try self.withSlowPath(body)
      }
    )
    lock.withLock { unsafe mms_slot_set_attachment(record.slots + index, value.toOpaque()) }
    return unsafe value
  }

  /// Makes a thread attach again at its next touch of each storage over a map, because its value in
  /// the map was removed. Applies to all threads if the thread is nil (unknown). Attaching again
  /// changes nothing if nothing was removed.
  func invalidateStorages(ofMap map: UInt32, of thread: ThreadID?) {
    invalidate(of: thread) { $0.mapID == map }
  }

  /// Makes all threads attach again to the storages whose backend has this observer.
  package func invalidateStorages(observedBy observer: any AttachmentObserver) {
    invalidate(of: nil) { $0.observer === observer }
  }

  private func invalidate(of thread: ThreadID?, where fits: (any DirectBackend) -> Bool) {
    lock.withLock {
      for index in unsafe state.storages.indices {
        guard case .direct(let backend) = unsafe state.storages[index]?.access, fits(backend)
        else { continue }
        unsafe state.storages[index]?.removals += 1
        if let thread {
          if let record = unsafe state.records[thread] { invalidate(at: index, of: record) }
        } else {
          for record in unsafe state.records.values { invalidate(at: index, of: record) }
        }
      }
    }
  }

  /// The caller holds the lock. For a direct backend only.
  private func invalidate(at index: Int, of record: ThreadRecord) {
    let slot = unsafe record.slots + index
    guard let attachment = unsafe Attachment(word: mms_slot_attachment(slot)) else { return }
    unsafe mms_slot_set_direct(slot, nil)
    unsafe mms_slot_set_attachment(
      slot,
      Attachment(address: attachment.address, isStale: true).word
    )
  }

  // MARK: User pages

  /// The pages that a thread shares with the kernel. Creates the object if there is none.
  func pages(of record: ThreadRecord) -> UserPages {
    lock.withLock {
      if let pages = unsafe record.pages { return pages }
      let pages = UserPages()
      unsafe record.pages = pages
      return pages
    }
  }

  /// The pages that a thread of this process shares with the kernel, if it has any.
  func existingPages(of thread: ThreadID) -> UserPages? {
    lock.withLock { unsafe state.records[thread]?.pages }
  }

  // MARK: Descriptors

  /// Closes the cached pidfd of a thread that is not using it. Returns whether one was closed.
  func closeOneIdlePidfd() -> Bool {
    lock.withLock { unsafe state.records.values.contains { $0.pidfd.closeIfIdle() } }
  }

  private func outOfMemory(_ attempt: String, on object: String) -> BPFError {
    BPFError(errno: .noMemory, attempt: attempt, on: object, advice: "the process is out of memory")
  }
}

extension ThreadRegistry: ForkParticipant {
  package func prepareForFork() { lock.lock() }

  package func resumeInParent() { lock.unlock() }

  /// The child has one thread, which starts unattached. The attachments of the parent's threads are
  /// not ended: pages may not be mapped in the child, and the forking thread may be using a view.
  /// The records of the parent's threads are kept, because these threads do not end in the child.
  package func resumeInChild() {
    unsafe forgetParent(&state)
    unsafe forget(mms_thread_at(threadOffset))
    isDetached.reset()
    lock.unlock()
  }

  private func forgetParent(_ state: inout State) {
    for record in state.records.values { record.pidfd.closeInChild() }
    state.records = [:]
  }

  /// Runs the child's steps once, so that the Swift runtime has created all metadata before a
  /// `fork`.
  private func rehearseFork() {
    var nothing = State()
    forgetParent(&nothing)
  }
}

/// A table of zeroed slots, to be freed with `free`; `nil` without memory.
private func createSlots(_ count: Int) -> UnsafeMutablePointer<mms_slot>? {
  let table = unsafe calloc(count, MemoryLayout<mms_slot>.stride)
  return unsafe table?.bindMemory(to: mms_slot.self, capacity: count)
}

/// The content of a slot for an attachment to a direct backend: the value's address, with the
/// lowest bit set if the value was removed and the thread has to attach again.
@safe
private struct Attachment {
  var address: UnsafeMutableRawPointer
  var isStale: Bool

  init(address: UnsafeMutableRawPointer, isStale: Bool) {
    unsafe self.address = address
    self.isStale = isStale
  }

  init?(word: UnsafeMutableRawPointer?) {
    guard let word = unsafe word else { return nil }
    isStale = UInt(bitPattern: word) & 1 != 0
    unsafe address = isStale ? word - 1 : word
  }

  var word: UnsafeMutableRawPointer { unsafe isStale ? address + 1 : address }
}

extension ValueAccess {
  fileprivate var observer: (any AttachmentObserver)? {
    switch self {
    case .direct(let backend): backend.observer
    case .copying(let backend): backend.observer
    }
  }

  /// Ends the attachment of a slot.
  fileprivate func detach(
    _ word: UnsafeMutableRawPointer,
    of record: ThreadRecord,
    because reason: DetachReason
  ) {
    switch self {
    case .direct(let backend):
      guard let attachment = unsafe Attachment(word: word) else { return }
      unsafe backend.detach(attachment.address, of: record, because: reason)
      backend.observer?.didDetach(record.id, because: reason)
    case .copying(let backend):
      unsafe Unmanaged<CopiedValue>.fromOpaque(word).release()
      backend.observer?.didDetach(record.id, because: reason)
    }
  }
}
