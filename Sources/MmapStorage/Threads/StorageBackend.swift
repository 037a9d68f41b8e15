// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues

/// Makes the values of one map reachable.
///
/// A backend knows bytes, sizes and threads, and nothing of the value's type. All its functions may
/// be called from any thread, several at once. Each backend is either a ``DirectBackend`` or a
/// ``CopyingBackend``.
package protocol StorageBackend: AnyObject, Sendable {
  /// Which backend this is and why it was chosen.
  var choice: BackendChoice { get }

  /// The map's name, such as "request_tags".
  var mapName: String { get }

  /// The kernel's id of the map. Backends with the same id have the same values.
  var mapID: UInt32 { get }

  /// Bytes of one value.
  var valueSize: Int { get }

  /// How a thread reaches its own value.
  var access: ValueAccess { get }

  /// Observes threads that attach and detach. The default is nil.
  var observer: (any AttachmentObserver)? { get }

  /// The layout of the map's value, from the map's side.
  ///
  /// - Throws: ``BPFError`` if there is no type information or it may not be read.
  func valueLayout() throws(BPFError) -> ValueLayout

  /// Copies a task's value into `bytes`, which are `valueSize` bytes.
  ///
  /// - Returns: False if the task has no value in this map; `bytes` are then unspecified.
  /// - Throws: ``BPFError``; `bytes` are then untouched.
  func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool

  /// Writes those byte ranges of `bytes` into a task's value and leaves its other bytes as they are.
  /// Creates the value, zero elsewhere, if there is none, or throws ``BPFError/Kind/notFound`` if
  /// only the thread itself can (``DirectBackend/createsOnlyByAttaching``).
  func store(_ task: TaskReference, _ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer)
    throws(BPFError)

  /// Copies the values of all tasks, also of those in other processes.
  func values() throws(BPFError) -> [UntypedTaskValue]

  /// Removes a task's value.
  ///
  /// - Returns: Whether there was one.
  func remove(_ task: TaskReference) throws(BPFError) -> Bool
}

/// A backend with which a thread reads and writes the bytes of its value in place.
package protocol DirectBackend: StorageBackend {
  /// Whether ``StorageBackend/store(_:_:of:)`` creates no value, because only the thread itself can,
  /// with ``attach(_:)``. The default is false.
  var createsOnlyByAttaching: Bool { get }

  /// Attaches the calling thread, and returns the address of its value: a multiple of 2.
  ///
  /// Every attachment ends with one call of ``detach(_:of:because:)``, except in the child of a
  /// `fork`, which forgets all attachments of its parent.
  func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer

  /// Attaches the calling thread again because its value may have been removed, at the same address:
  /// a view may still be in use further up the stack. If the value was removed, it exists again,
  /// zero or with what was written to it since; if it was not, nothing changes.
  func renew(_ address: UnsafeMutableRawPointer, of thread: ThreadRecord) throws(BPFError)

  /// Whether programs use the memory that the calling thread is attached to.
  func mappingState(of address: UnsafeMutableRawPointer) throws(BPFError) -> MappingState

  /// Ends an attachment. When a thread ends this runs on that thread; when the storage ends, on any,
  /// and the attached thread does not end before it returns.
  func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  )
}

/// A backend with which a thread works on a copy of its value.
package protocol CopyingBackend: StorageBackend, CopySource {}

/// How a thread reaches its own value.
package enum ValueAccess: Sendable {
  case direct(any DirectBackend)
  case copying(any CopyingBackend)
}

/// Observes the threads that attach to a backend and detach from it.
package protocol AttachmentObserver: AnyObject, Sendable {
  /// The calling thread is about to attach for the first time. An error prevents it.
  func willAttach() throws(BPFError)

  /// A thread is detached. Runs where ``DirectBackend/detach(_:of:because:)`` does.
  func didDetach(_ thread: ThreadID, because reason: DetachReason)
}

/// Why an attachment ends.
package enum DetachReason: Sendable, Hashable {
  /// The thread ends, and the kernel ends its values.
  case threadEnds
  /// The ``TaskLocalStorage`` ends; the thread's value in the map stays.
  case storageEnds
}

extension DirectBackend {
  package var access: ValueAccess { .direct(self) }
  package var createsOnlyByAttaching: Bool { false }
}

extension CopyingBackend {
  package var access: ValueAccess { .copying(self) }
}

extension StorageBackend {
  package var observer: (any AttachmentObserver)? { nil }

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

  /// The map for error messages, such as "map 'request_tags'".
  package var describedMap: String { "map '\(mapName)'" }
}
