// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

// Invariant: code that accesses a slot holds its lease, which keeps the slots and so their memory.

/// What a scope binds as a task-local. The BPF program reads the tag from the runtime's memory, so it
/// is the first word.
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

  /// The binding of a scope; nil for one that found no slot.
  init(_ lease: Unmanaged<SwiftTaskLease>?) {
    let lease = unsafe lease?.takeUnretainedValue()
    self.init(tag: lease?.tag ?? 0, lease: lease)
  }
}

extension SwiftTaskSlots {
  /// Binds a lease, as `TaskLocal.withValue` does. The same function has to call ``unbind()``.
  @usableFromInline
  func bind(_ lease: Unmanaged<SwiftTaskLease>?) {
    // The type is this module's own, and a metatype is the address of the type's metadata, which the
    // runtime takes. Nothing here comes from outside.
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

/// The right to use a slot. Everyone who may reach the slot holds it: the scope, and through their
/// task-locals the Swift tasks that inherited the scope.
///
/// Most scopes are alone when they end. They give the lease back, and it is used again. A scope that is
/// not leaves it to the others, and the slot is free when the last one drops it.
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
    // The slot is in no scope while the lease waits for the next one.
    guard unsafe state.pointee.tag != 0, let slots = unsafe state.pointee.slots else { return }
    unsafe state.pointee.slots = nil
    unsafe slots.release(state, address)
  }

  @usableFromInline
  var tag: UInt64 { unsafe state.pointee.tag }
}

/// What the process knows of a slot. It belongs to the owner of the slot, except the first word.
@usableFromInline
@safe
struct SwiftTaskSlotState {
  /// Index plus one of the next free slot.
  var next: UInt64 = 0
  var index: UInt64 = 0
  var generation: UInt64 = 0
  /// 0 while the slot is free.
  var tag: UInt64 = 0
  /// The lease of the scope before, for the next one.
  var parked: Unmanaged<SwiftTaskLease>?
  var onEnd: (@Sendable (UnsafeMutableRawPointer) -> Void)?
  /// Set when the scope ends and others hold the lease: they keep the slots alive.
  var slots: SwiftTaskSlots?
}

extension SwiftTaskSlots {
  /// Takes a slot, whose value is zero; nil if there is none. Released with ``leave(_:)``.
  /// `onEnd` gets the value when the last holder of the lease has given it up.
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
    // The same pointer, as the standard library wants it. A strong variable would count.
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
    // Pairs with the releases of the others.
    mms_fence_acquire()
    unsafe release(state, address, parking: lease)
  }
}
