internal import CLibBPFShim

/// What a scope binds as a task-local. The BPF program reads the tag from the runtime's memory, so it
/// is the first word.
@usableFromInline
struct SwiftTaskBinding: Sendable {
  /// The generation (upper 40 bits) and the index (lower 24 bits) of the slot; 0 for no slot.
  let tag: UInt64
  @usableFromInline
  let lease: SwiftTaskLease?

  @usableFromInline
  static let none = SwiftTaskBinding(tag: 0, lease: nil)

  init(tag: UInt64, lease: SwiftTaskLease?) {
    self.tag = tag
    self.lease = lease
  }

  @usableFromInline
  init(_ lease: SwiftTaskLease) {
    self.init(tag: lease.tag, lease: lease)
  }
}

/// The right to use a slot. Everyone who may reach the slot holds it: the scope, and through their
/// task-locals the Swift tasks that inherited the scope. The slot is free when it is deinitialized.
@usableFromInline
final class SwiftTaskLease: Sendable {
  private let slots: SwiftTaskSlots
  let tag: UInt64
  @usableFromInline
  nonisolated(unsafe) let address: UnsafeMutableRawPointer
  private let onEnd: (@Sendable (UnsafeMutableRawPointer) -> Void)?

  init(
    _ slots: SwiftTaskSlots,
    tag: UInt64,
    address: UnsafeMutableRawPointer,
    onEnd: (@Sendable (UnsafeMutableRawPointer) -> Void)?
  ) {
    self.slots = slots
    self.tag = tag
    self.address = address
    self.onEnd = onEnd
  }

  deinit {
    onEnd?(address)
    slots.release(tag)
  }
}
