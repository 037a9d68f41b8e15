// SPDX-License-Identifier: Apache-2.0
package import LibBPF
package import MapValues

/// Access to the values of one map.
///
/// A backend handles bytes, sizes and threads, independently of the value's type. All its functions
/// may be called from any thread, concurrently. Each backend is either a ``DirectBackend`` or a
/// ``CopyingBackend``.
package protocol StorageBackend: AnyObject, Sendable {
  /// The kind of backend, and the reason for the choice.
  var choice: BackendChoice { get }

  /// The map's name, such as "request_tags".
  var mapName: String { get }

  /// The kernel's id of the map. Backends with the same id access the same values.
  var mapID: UInt32 { get }

  /// The size of a value in bytes.
  var valueSize: Int { get }

  /// How a thread accesses its own value.
  var access: ValueAccess { get }

  /// Observes threads that attach and detach. The default is nil.
  var observer: (any AttachmentObserver)? { get }

  /// The layout of the map's value, from the map's type information.
  ///
  /// - Throws: ``BPFError`` if the type information does not exist or may not be read.
  func valueLayout() throws(BPFError) -> ValueLayout

  /// Copies a task's value into `bytes`, which are `valueSize` bytes.
  ///
  /// - Returns: False if the task has no value in this map; `bytes` are then unspecified.
  /// - Throws: ``BPFError``; `bytes` are then unchanged.
  func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool

  /// Writes the byte ranges of `bytes` to a task's value and does not change its other bytes.
  /// Creates the value, zero elsewhere, if there is none, or throws ``BPFError/Kind/notFound`` if
  /// only the thread itself can create it (``DirectBackend/createsOnlyByAttaching``).
  func store(_ task: TaskReference, _ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer)
    throws(BPFError)

  /// Copies the values of all tasks, including those of other processes.
  func values() throws(BPFError) -> [TaskValue<[UInt8]>]

  /// Removes a task's value.
  ///
  /// - Returns: Whether there was a value.
  func remove(_ task: TaskReference) throws(BPFError) -> Bool
}

/// A backend with which a thread reads and writes the bytes of its value in place.
package protocol DirectBackend: StorageBackend {
  /// Whether ``StorageBackend/store(_:_:of:)`` creates no value, because only the thread itself can,
  /// with ``attach(_:)``. The default is false.
  var createsOnlyByAttaching: Bool { get }

  /// Attaches the calling thread, and returns the address of its value, a multiple of 2.
  ///
  /// Balance each attachment with one call of ``detach(_:of:because:)``, except in the child of a
  /// `fork`, which discards all attachments of its parent.
  func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer

  /// Attaches the calling thread again at the same address, because its value may have been
  /// removed. A view may be in use by a caller. If the value was removed, creates it again, zeroed
  /// or with the bytes written since. Otherwise changes nothing.
  func renew(_ address: UnsafeMutableRawPointer, of thread: ThreadRecord) throws(BPFError)

  /// Whether programs use the memory that the calling thread is attached to.
  func mappingState(of address: UnsafeMutableRawPointer) throws(BPFError) -> MappingState

  /// Ends an attachment. Runs on the thread if the thread ends. Runs on any thread if the storage
  /// ends; the attached thread then does not end before this returns.
  func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  )
}

/// A backend with which a thread works on a copy of its value.
package protocol CopyingBackend: StorageBackend, CopySource {}

/// How a thread accesses its own value.
package enum ValueAccess: Sendable {
  case direct(any DirectBackend)
  case copying(any CopyingBackend)
}

/// Observes the threads that attach to a backend and detach from it.
package protocol AttachmentObserver: AnyObject, Sendable {
  /// Called before the calling thread attaches for the first time. An error prevents it.
  func willAttach() throws(BPFError)

  /// Called when a thread is detached, on the thread of ``DirectBackend/detach(_:of:because:)``.
  func didDetach(_ thread: ThreadID, because reason: DetachReason)
}

/// The reason for the end of an attachment.
package enum DetachReason: Sendable, Hashable {
  /// The thread ends, and the kernel frees its values.
  case threadEnds
  /// The ``TaskLocalStorage`` ends; the thread's value stays in the map.
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

  /// - Throws: ``BPFError/Kind/invalidArgument`` if a range is not within both the given bytes and a
  ///   value.
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
