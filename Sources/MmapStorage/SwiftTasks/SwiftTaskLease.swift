// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

// Invariant: code that accesses a slot holds its lease, which keeps the slots' memory alive.

/// The value that a scope binds as a task-local. The BPF program reads the tag from the runtime's
/// memory, so the tag is the first word.
@usableFromInline
struct SwiftTaskBinding: Sendable {
  /// The generation (upper 40 bits) and the index (lower 24 bits) of the slot; 0 for no slot.
  @usableFromInline
  let tag: UInt64
  @usableFromInline
  let lease: SwiftTaskLease?

  static let none = SwiftTaskBinding(tag: 0, lease: nil)

  @inlinable
  init(tag: UInt64, lease: SwiftTaskLease?) {
    self.tag = tag
    self.lease = lease
  }

  /// The binding of a scope; nil if the scope has no slot.
  init(_ lease: Unmanaged<SwiftTaskLease>?) {
    let lease = unsafe lease?.takeUnretainedValue()
    self.init(tag: lease?.tag ?? 0, lease: lease)
  }
}

extension SwiftTaskSlots {
  /// Binds a lease, as `TaskLocal.withValue` does. The same function must call ``unbind()``.
  @usableFromInline
  func bind(_ lease: Unmanaged<SwiftTaskLease>?) {
    // The type is declared in this module, and a metatype is the address of the type's metadata,
    // which the runtime expects. No outside data is involved.
    unsafe mms_task_local_push(
      Unmanaged.passUnretained(local).toOpaque(),
      lease?._withUnsafeGuaranteedRef { $0.tag } ?? 0,
      lease?.retain().toOpaque(),
      unsafeBitCast(SwiftTaskBinding.self, to: UnsafeRawPointer.self)
    )
  }

  @usableFromInline
  func unbind() { mms_task_local_pop() }
}

/// The right to use a slot. It is held by the scope and, through their task-locals, by the Swift
/// tasks that inherited the scope.
///
/// Most scopes are the only holder when they end. They park the lease in the slot for reuse.
/// Otherwise the scope drops its reference, and the slot is freed when the last holder drops its
/// own.
@usableFromInline
@safe
final class SwiftTaskLease: Sendable {
  @usableFromInline
  nonisolated(unsafe) let address: UnsafeMutableRawPointer
  @usableFromInline
  nonisolated(unsafe) let state: UnsafeMutablePointer<SwiftTaskSlotState>

  init(address: UnsafeMutableRawPointer, state: UnsafeMutablePointer<SwiftTaskSlotState>) {
    unsafe self.address = address
    unsafe self.state = state
  }

  deinit {
    // A parked lease is in no scope.
    guard unsafe state.pointee.tag != 0, let slots = unsafe state.pointee.slots else { return }
    unsafe state.pointee.slots = nil
    unsafe slots.release(state, address)
  }

  @usableFromInline
  var tag: UInt64 { unsafe state.pointee.tag }
}

/// The process's state of a slot. Only the holder of the slot accesses it, except for the first
/// word.
@usableFromInline
@safe
struct SwiftTaskSlotState {
  /// Index plus one of the next free slot.
  var next: UInt64 = 0
  var index: UInt64 = 0
  /// 0 while these slots do not include the slot.
  var generation: UInt64 = 0
  /// 0 while the slot is free.
  var tag: UInt64 = 0
  /// The lease of the previous scope, for reuse.
  var parked: Unmanaged<SwiftTaskLease>?
  var onEnd: (@Sendable (UnsafeMutableRawPointer) -> Void)?
  /// Set if there are other holders when the scope ends: they keep the slots alive.
  var slots: SwiftTaskSlots?
}

extension SwiftTaskSlots {
  /// Takes a slot and zeroes its value; returns nil if there is none. Balanced by ``leave(_:)``.
  /// `onEnd` is called with the value when the last holder drops the lease.
  @usableFromInline
  func enter(
    onEnd: (@Sendable (UnsafeMutableRawPointer) -> Void)?
  ) -> Unmanaged<SwiftTaskLease>? {
    guard let (state, address) = unsafe acquire() else { return nil }
    if let onEnd = unsafe onEnd { unsafe state.pointee.onEnd = unsafe onEnd }
    if let parked = unsafe state.pointee.parked {
      unsafe state.pointee.parked = nil
      return unsafe parked
    }
    return unsafe .passRetained(SwiftTaskLease(address: address, state: state))
  }

  /// Ends a scope.
  @usableFromInline
  func leave(_ lease: Unmanaged<SwiftTaskLease>?) {
    guard var lease = unsafe lease else { return }
    // The same pointer, in the form that the standard library takes. A strong variable would add a
    // reference.
    let isAlone = unsafe withUnsafeMutablePointer(to: &lease) {
      unsafe isKnownUniquelyReferenced(
        &UnsafeMutableRawPointer($0).assumingMemoryBound(to: SwiftTaskLease.self).pointee
      )
    }
    let (state, address) = unsafe lease._withUnsafeGuaranteedRef { unsafe ($0.state, $0.address) }
    unsafe forgetTask(address)
    guard isAlone else {
      unsafe state.pointee.slots = self
      unsafe lease.release()
      return
    }
    // Pairs with the releases of the other holders.
    mms_fence_acquire()
    unsafe release(state, address, parking: lease)
  }
}
