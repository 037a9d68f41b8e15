internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import Synchronization
internal import SystemPackage

/// What the library keeps about one thread, from its first touch of any storage to its end.
final class ThreadRecord: Sendable {
  let id = ThreadID.current

  /// The thread's slots, so that another thread can clear one.
  nonisolated(unsafe) let slots = mms_slot_at(0)

  /// Guarded by the registry's lock.
  nonisolated(unsafe) var attachments = AttachmentList()

  /// The thread's own pidfd, shared by all its storages.
  let pidfd = CachedDescriptor()

  /// How many others detach the thread at the moment; it does not end before they have.
  let holds = Atomic<Int>(0)

  private init() {}

  /// The calling thread's record, if it has one.
  static var current: ThreadRecord? {
    mms_thread_record_get().map { Unmanaged<ThreadRecord>.fromOpaque($0).takeUnretainedValue() }
  }

  /// The calling thread's record, made on its first touch.
  ///
  /// - Throws: ``BPFError`` if the process has used up its thread-specific data keys, or the
  ///   thread is ending and will not say so again.
  static func currentOrNew() throws(BPFError) -> ThreadRecord {
    if let current { return current }
    guard mms_thread_ends_get() < PTHREAD_DESTRUCTOR_ITERATIONS else {
      throw BPFError(
        .wrongState,
        attempt: "attach the thread",
        on: "thread \(ThreadID.current)",
        advice: "it is ending: this is its last round of destructors of thread-specific data"
      )
    }
    let record = ThreadRecord()
    let pointer = Unmanaged.passUnretained(record).toOpaque()
    let result = threadEndKey.map { pthread_setspecific($0, pointer) } ?? EAGAIN
    guard result == 0 else {
      throw BPFError(
        .outOfResources,
        attempt: "arrange for clean-up at the thread's end",
        on: "thread \(record.id)",
        errno: Errno(rawValue: result),
        advice: "the process has used up its pthread keys (PTHREAD_KEYS_MAX) or its memory"
      )
    }
    _ = Unmanaged.passRetained(record)
    mms_thread_record_set(pointer)
    ThreadRegistry.shared.add(record)
    return record
  }

  /// Makes the key. In the child of a `fork` another thread could have been just about to.
  static func prepare() { _ = threadEndKey }

  /// Forgets the calling thread's record without ending anything: for the child of a `fork`.
  static func forgetCurrent() {
    if let threadEndKey { pthread_setspecific(threadEndKey, nil) }
    mms_thread_record_set(nil)
    for index in 0..<MMS_SLOT_COUNT { mms_slot_clear(mms_slot_at(slotOffset(index))) }
  }

  fileprivate static func threadEnds(_ pointer: UnsafeMutableRawPointer) {
    let record = Unmanaged<ThreadRecord>.fromOpaque(pointer).takeRetainedValue()
    mms_thread_ends_add()
    // First, so that a later destructor of the program's own that touches a storage attaches anew.
    forgetCurrent()
    ThreadRegistry.shared.threadEnds(record)
  }
}

/// The byte offset of a slot from the thread's first one.
func slotOffset(_ index: Int) -> UInt { UInt(index * MemoryLayout<mms_slot>.stride) }

/// The key whose destructor tells that a thread ends, or nil if there are no keys left.
private let threadEndKey: pthread_key_t? = {
  var key = pthread_key_t()
  let result = pthread_key_create(&key) { pointer in
    if let pointer { ThreadRecord.threadEnds(pointer) }
  }
  return result == 0 ? key : nil
}()
