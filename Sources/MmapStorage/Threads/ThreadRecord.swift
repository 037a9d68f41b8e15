// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc

// Invariant: the tables are this record's until `deinit`. The block exists as long as the thread.

/// What the library keeps about one thread, from its first touch of any storage to its end.
@safe
package final class ThreadRecord: Sendable {
  /// The thread's id.
  package let id: ThreadID

  /// The thread's own pidfd, shared by all its storages.
  let pidfd = CachedDescriptor()

  /// The registry that the record is in.
  unowned let registry: ThreadRegistry

  /// The block in the thread's thread-local storage.
  nonisolated(unsafe) let block: UnsafeMutablePointer<mms_thread>

  // MARK: Guarded by the registry's lock

  /// The thread's slots, as many as the registry's capacity.
  nonisolated(unsafe) var slots: UnsafeMutablePointer<mms_slot>

  /// Whether the thread runs its destructors, and its block is not this record's any more.
  nonisolated(unsafe) var hasLeftItsBlock = false

  /// How many other threads are detaching this one. It does not end before they have.
  nonisolated(unsafe) var pendingDetaches = 0

  /// The tables that `slots` replaced. The thread may be reading one.
  private nonisolated(unsafe) var retiredSlots: [UnsafeMutablePointer<mms_slot>] = unsafe []

  /// The pages that the thread shares with the kernel; nil until there is the first.
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

  /// Replaces the table. If the thread still exists and uses the record, it uses the new one from here on.
  func replaceSlots(with table: UnsafeMutablePointer<mms_slot>) {
    unsafe retiredSlots.append(slots)
    unsafe slots = table
    // A thread that ended with the exit system call ran no destructors, and its thread-local
    // storage may be unmapped or another thread's by now.
    if unsafe !hasLeftItsBlock, mms_thread_exists(id.rawValue) {
      unsafe mms_thread_publish_slots(block, table)
    }
  }
}
