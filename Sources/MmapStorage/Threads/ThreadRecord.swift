// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc

// Invariant: the record owns the tables until `deinit`. The block exists as long as the thread.

/// The library's state of one thread, from its first touch of any storage to its end.
@safe
package final class ThreadRecord: Sendable {
  /// The thread's id.
  package let id: ThreadID

  /// The pidfd of the thread, shared by all its storages.
  let pidfd = CachedDescriptor()

  /// The registry that contains the record.
  unowned let registry: ThreadRegistry

  /// The block in the thread's thread-local storage.
  nonisolated(unsafe) let block: UnsafeMutablePointer<mms_thread>

  // MARK: Guarded by the registry's lock

  /// The thread's table of slots. Its size is the registry's capacity.
  nonisolated(unsafe) var slots: UnsafeMutablePointer<mms_slot>

  /// Whether the thread runs its destructors, and its block no longer refers to this record.
  nonisolated(unsafe) var hasLeftItsBlock = false

  /// The number of other threads that are detaching this one. The thread does not end before it is
  /// 0.
  nonisolated(unsafe) var pendingDetaches = 0

  /// The tables that `slots` replaced. The thread may still read one.
  private nonisolated(unsafe) var retiredSlots: [UnsafeMutablePointer<mms_slot>] = unsafe []

  /// The pages that the thread shares with the kernel; nil before the first one.
  nonisolated(unsafe) var pages: UserPages?

  /// Takes ownership of `slots`.
  init(
    id: ThreadID,
    slots: UnsafeMutablePointer<mms_slot>,
    block: UnsafeMutablePointer<mms_thread>,
    registry: ThreadRegistry
  ) {
    self.id = id
    unsafe self.slots = slots
    unsafe self.block = block
    self.registry = registry
  }

  deinit {
    unsafe free(slots)
    unsafe retiredSlots.forEach { unsafe free($0) }
  }

  /// Replaces the table. If the thread still exists and uses the record, it uses the new table from
  /// now on.
  func replaceSlots(with table: UnsafeMutablePointer<mms_slot>) {
    unsafe retiredSlots.append(slots)
    unsafe slots = table
    // A thread that ended with the exit system call ran no destructors. Its thread-local storage
    // may be unmapped, or belong to another thread.
    if unsafe !hasLeftItsBlock, mms_thread_exists(id.rawValue) {
      unsafe mms_thread_publish_slots(block, table)
    }
  }
}
