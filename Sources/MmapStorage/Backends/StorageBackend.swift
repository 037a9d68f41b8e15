public import LibBPF

/// Makes the bytes of one map's storages reachable.
///
/// A backend deals in bytes, sizes and threads and knows nothing of the value's type. All of its
/// functions may be called from any thread, several at once. ``TaskLocalStorage`` is the only
/// caller that most programs need; implement this protocol to bring a backend of your own.
public protocol StorageBackend: AnyObject, Sendable {
  /// Which backend this is and why it was chosen.
  var choice: BackendChoice { get }

  /// The map's name, such as "request_tags".
  var mapName: String { get }

  /// Bytes of one storage: the map's value size.
  var valueSize: Int { get }

  /// The layout of the map's value, from the map's side.
  ///
  /// - Throws: ``BPFError`` if there is no type information or it may not be read.
  func valueLayout() throws(BPFError) -> ValueLayout

  /// Whether ``store(_:_:of:)`` creates no storage, because only the thread itself can, with
  /// ``attach()``. False unless said otherwise.
  var createsOnlyByAttaching: Bool { get }

  /// The first touch of the calling thread.
  ///
  /// Called at most once at a time for each thread. Every attachment is given back to
  /// ``detach(_:because:)`` exactly once, except in the child of a `fork`, which forgets all
  /// attachments of its parent.
  func attach() throws(BPFError) -> Attachment

  /// Attaches the calling thread again because its storage may have been removed, at the same
  /// address: a view may still be in use further up the stack. If the storage was removed, it is
  /// there again, zero or with what was written to it since; if it was not, nothing changes.
  ///
  /// Never called for ``Attachment/copying``.
  func renew(_ attachment: Attachment) throws(BPFError)

  /// Gives back what ``attach()`` made. When a thread ends this runs on that thread; when the
  /// storage ends, on any, and the attached thread does not end before it returns.
  func detach(_ attachment: Attachment, because reason: DetachReason)

  /// Copies a task's storage into `bytes`, which are ``valueSize`` bytes.
  ///
  /// - Returns: False if the task has no storage in this map; `bytes` are then unspecified.
  /// - Throws: ``BPFError``; `bytes` are then untouched.
  func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool

  /// Writes those byte ranges of `bytes` into a task's storage and leaves its other bytes as they
  /// are. Creates the storage, zero elsewhere, if there is none, or throws
  /// ``BPFError/Kind/notFound`` if ``createsOnlyByAttaching``.
  func store(_ task: TaskReference, _ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer)
    throws(BPFError)

  /// Removes a task's storage.
  ///
  /// - Returns: Whether there was one.
  func remove(_ task: TaskReference) throws(BPFError) -> Bool
}

extension StorageBackend {
  /// False.
  public var createsOnlyByAttaching: Bool { false }

  /// Where a buffer for a value begins.
  ///
  /// - Throws: ``BPFError/Kind/invalidArgument`` if it is too small.
  func address(
    of bytes: UnsafeMutableRawBufferPointer,
    for attempt: String
  ) throws(BPFError) -> UnsafeMutableRawPointer {
    guard bytes.count >= valueSize, let address = bytes.baseAddress else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedMap,
        advice: "the buffer has \(bytes.count) bytes and a value \(valueSize)"
      )
    }
    return address
  }

  /// - Throws: ``BPFError/Kind/invalidArgument`` if a range is not within both the bytes given and
  ///   a value.
  package func check(
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer,
    for attempt: String
  ) throws(BPFError) {
    let size = min(valueSize, bytes.count)
    for range in ranges where range.lowerBound < 0 || range.upperBound > size {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: describedMap,
        advice: "the bytes \(range) are not within the \(bytes.count) given "
          + "and the \(valueSize) of a value"
      )
    }
  }

  /// The map in words, for errors, such as "map 'request_tags'".
  package var describedMap: String { "map '\(mapName)'" }
}

/// What a thread got from ``StorageBackend/attach()``.
public enum Attachment: @unchecked Sendable {
  /// The storage's bytes are at this address of the thread until it detaches. `owner` is kept
  /// alive as long.
  case direct(UnsafeMutableRawPointer, owner: AnyObject?)
  /// The bytes are copied in and out with ``StorageBackend/load(_:into:)`` and
  /// ``StorageBackend/store(_:_:of:)``.
  case copying
}

/// Why an attachment is given back.
public enum DetachReason: Sendable, Hashable {
  /// The thread ends, and the kernel ends its storages.
  case threadEnds
  /// The ``TaskLocalStorage`` ends; the thread's storage in the map stays.
  case storageEnds
}
