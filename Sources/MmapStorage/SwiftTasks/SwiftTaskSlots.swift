// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
package import LibBPF
internal import Synchronization

// Invariant: `memory` has `count` slots of `stride` bytes, and there is a state for each. The tag
// in a slot's state identifies the lease that may use the slot.

/// The slots of one map that this process uses, and the task-local through which a program finds
/// them.
///
/// A slot is `{ owner, holder, task, binding, value }`. The owner is a process, and does not change
/// while the process keeps the slot. The holder is the tag of the lease. A program uses a slot only
/// if it finds the tag in a binding of the current Swift task, the holder is the same tag, and the
/// owner is the process. A tag is used once.
///
/// The task is the Swift task that entered the scope, until it leaves the scope. Its binding does
/// not move in that time. The program stores the address of the binding in the slot. While the same
/// Swift task has the same latest binding, the program does not read the binding again.
///
/// Slots are acquired and released without a lock or a system call. A process claims slots in
/// batches, from slots without an owner or with an owner that has exited.
@usableFromInline
@safe
final class SwiftTaskSlots: Sendable {
  /// Bound to a lease in each scope.
  @usableFromInline
  let local = TaskLocal<SwiftTaskBinding>(wrappedValue: .none)

  let count: Int
  private let stride: Int
  /// The end of a slot's value, in whole words.
  private let valueEnd: Int
  private let owner: UInt64
  let memory: any SwiftTaskMemory
  private nonisolated(unsafe) let base: UnsafeMutableRawPointer

  /// The list of free slots of the process: index plus one of the first in the lower 32 bits, a
  /// counter that prevents ABA in the upper ones.
  private let free = Atomic<UInt64>(0)
  private nonisolated(unsafe) let states: UnsafeMutablePointer<SwiftTaskSlotState>

  private let claims = ForkSafeLock()
  private nonisolated(unsafe) var claimedUpTo = 0
  private let process = getpid()
  /// The number of scopes that found no slot.
  let overflows = Atomic<Int>(0)

  private static var ownerOffset: Int { 0 }
  private static var holderOffset: Int { 8 }
  private static var taskOffset: Int { 16 }
  private static var bindingOffset: Int { 24 }
  static var valueOffset: Int { 32 }
  private static var indexBits: UInt64 { 24 }
  private static var generations: UInt64 { 1 << (64 - indexBits) }
  /// Flag in an owner: the process does not use the slot yet. Process ids have fewer bits.
  private static var claiming: UInt64 { 1 << 63 }
  /// The number of slots that a process claims at a time.
  static var batch: Int { 64 }
  /// The number of further scopes without a slot after which to look for unclaimed slots again.
  private static var patience: Int { 1024 }

  /// - Parameters:
  ///   - memory: The slots.
  ///   - stride: Bytes from one slot to the next.
  ///   - count: The number of slots, at most 2^24.
  ///   - valueSize: Bytes of a value.
  ///   - owner: The owner word of the process's slots; not 0.
  init(
    _ memory: any SwiftTaskMemory,
    stride: Int,
    count: Int,
    valueSize: Int,
    owner: UInt64
  ) {
    self.memory = memory
    unsafe self.base = memory.base
    self.stride = stride
    self.count = count
    valueEnd = Self.valueOffset + (valueSize + 7) / 8 * 8
    self.owner = owner
    unsafe states = .allocate(capacity: count)
    unsafe states.initialize(repeating: SwiftTaskSlotState(), count: count)
    // A random start, so that processes do not claim from the same index.
    unsafe claimedUpTo = Int.random(in: 0..<count)
  }

  deinit {
    // Other storages of the process, such as one that is being opened, have the same owner.
    for index in 0..<count where unsafe states[index].generation != 0 {
      word(index, Self.ownerOffset).release(from: owner)
    }
    for index in 0..<count { unsafe states[index].parked?.release() }
    unsafe states.deinitialize(count: count).deallocate()
  }

  /// The second word of a binding of the task-local, after the link.
  var key: UInt64 {
    unsafe UInt64(UInt(bitPattern: Unmanaged.passUnretained(local).toOpaque()))
  }

  // MARK: Acquire and release

  /// Acquires a slot and zeroes its value. Returns the process's state of the slot, and the value.
  @inline(__always)
  func acquire() -> (UnsafeMutablePointer<SwiftTaskSlotState>, UnsafeMutableRawPointer)? {
    guard let index = pop() ?? claim() else {
      overflows.add(1, ordering: .relaxed)
      return nil
    }
    let slot = unsafe base + index * stride
    let state = unsafe states + index
    var generation = unsafe state.pointee.generation &+ 1
    if generation >= Self.generations { generation = 1 }
    let tag = generation << Self.indexBits | UInt64(index)
    unsafe state.pointee.index = UInt64(index)
    unsafe state.pointee.generation = generation
    unsafe state.pointee.tag = tag
    // Slots have whole words. Most values have few, for which memset() is slower.
    var word = Self.valueOffset
    while word < valueEnd {
      unsafe mms_store64(slot + word, 0)
      word += 8
    }
    unsafe mms_store64(slot + Self.bindingOffset, 0)
    unsafe mms_store64(slot + Self.taskOffset, UInt64(UInt(bitPattern: mms_swift_task_current())))
    unsafe mms_store_release64(slot + Self.holderOffset, tag)
    return unsafe (state, slot + Self.valueOffset)
  }

  /// Clears the Swift task of the scope, when it leaves the scope and its binding no longer exists.
  func forgetTask(_ address: UnsafeMutableRawPointer) {
    unsafe mms_store64(address - Self.valueOffset + Self.taskOffset, 0)
  }

  /// Passes the final value to `onEnd` and frees the slot, with the lease for the next scope.
  func release(
    _ state: UnsafeMutablePointer<SwiftTaskSlotState>,
    _ address: UnsafeMutableRawPointer,
    parking lease: Unmanaged<SwiftTaskLease>? = nil
  ) {
    if let onEnd = unsafe state.pointee.onEnd {
      unsafe state.pointee.onEnd = nil
      unsafe onEnd(address)
    }
    unsafe mms_store_release64(address - Self.valueOffset + Self.holderOffset, 0)
    unsafe state.pointee.tag = 0
    unsafe state.pointee.parked = lease
    unsafe push(Int(state.pointee.index))
  }

  @inline(__always)
  private func pop() -> Int? {
    var head = free.load(ordering: .acquiring)
    while true {
      guard head & 0xffff_ffff != 0 else { return nil }
      let index = Int(head & 0xffff_ffff) - 1
      // Another thread may take the slot and write this word concurrently; the exchange fails then.
      let rest = unsafe mms_load64(states + index)
      let (exchanged, current) = free.weakCompareExchange(
        expected: head,
        desired: Self.list(after: head, first: rest),
        successOrdering: .acquiring,
        failureOrdering: .acquiring
      )
      if exchanged { return index }
      head = current
    }
  }

  @inline(__always)
  private func push(_ index: Int) {
    var head = free.load(ordering: .relaxed)
    while true {
      unsafe mms_store64(states + index, head & 0xffff_ffff)
      let (exchanged, current) = free.weakCompareExchange(
        expected: head,
        desired: Self.list(after: head, first: UInt64(index + 1)),
        successOrdering: .releasing,
        failureOrdering: .relaxed
      )
      if exchanged { return }
      head = current
    }
  }

  private static func list(after head: UInt64, first: UInt64) -> UInt64 {
    (head >> 32 &+ 1) << 32 | first
  }

  // MARK: Claiming

  /// Releases the slots that are in no scope, for other processes. Other threads of this process
  /// may continue.
  func releaseFree() {
    while let index = pop() {
      unsafe states[index].generation = 0
      word(index, Self.ownerOffset).release(from: owner)
    }
  }

  private func claim() -> Int? {
    let misses = overflows.load(ordering: .relaxed)
    guard misses % Self.patience == 0 else { return nil }
    // In the child of a fork, the lock may be held by a thread that does not exist there.
    guard getpid() == process else { return nil }
    return claims.withLock { claimBatch() }
  }

  private func claimBatch() -> Int? {
    if let index = pop() { return index }
    if let index = claim(where: { $0 == 0 }) { return index }
    // The slots of a process are mostly adjacent.
    var last = (owner: owner, hasExited: false)
    return claim {
      let owner = $0 & ~Self.claiming
      if owner != last.owner { last = (owner, memory.hasExited(owner)) }
      return last.hasExited
    }
  }

  /// Claims a batch of slots whose owner satisfies a condition.
  private func claim(where isFree: (UInt64) -> Bool) -> Int? {
    var claimed: Int?
    var left = Self.batch
    var index = unsafe claimedUpTo
    for _ in 0..<count where left > 0 {
      let place = word(index, Self.ownerOffset)
      let current = place.load()
      if isFree(current), place.claim(for: owner | Self.claiming, from: current) {
        // Programs must not use the previous owner's values for this process.
        for offset in [Self.holderOffset, Self.taskOffset, Self.bindingOffset] {
          unsafe mms_store64(base + index * stride + offset, 0)
        }
        _ = place.claim(for: owner, from: owner | Self.claiming)
        // A random start, so that tags differ from those of earlier storages of the process.
        unsafe states[index].generation = .random(in: 1..<Self.generations)
        if claimed == nil { claimed = index } else { push(index) }
        left -= 1
      }
      index = index + 1 == count ? 0 : index + 1
    }
    unsafe claimedUpTo = index
    return claimed
  }

  private func word(_ index: Int, _ offset: Int) -> OwnerWord {
    unsafe OwnerWord(address: base + index * stride + offset)
  }
}

/// Slots of any process, by their offset in the map.
extension SwiftTaskSlots {
  static func owner(in mapping: UnsharedMapping, at offset: Int) -> UInt64 {
    word(in: mapping, offset).load()
  }

  /// The owner without the flag for slots that are not used yet.
  static func process(of owner: UInt64) -> UInt64 { owner & ~claiming }

  /// Frees the slot unless its owner has changed.
  static func free(in mapping: UnsharedMapping, at offset: Int, from owner: UInt64) {
    word(in: mapping, offset).release(from: owner)
  }

  private static func word(in mapping: UnsharedMapping, _ offset: Int) -> OwnerWord {
    // A mapping has a base address.
    unsafe OwnerWord(
      address: mapping.memory.bytes.baseAddress.unsafelyUnwrapped + offset + ownerOffset
    )
  }
}

/// The owner word of a slot, which other processes also change.
@safe
private struct OwnerWord {
  let address: UnsafeMutableRawPointer

  func load() -> UInt64 { unsafe mms_load_acquire64(address) }

  func claim(for owner: UInt64, from current: UInt64) -> Bool {
    var expected = current
    return unsafe mms_compare_exchange64(address, &expected, owner)
  }

  func release(from owner: UInt64) { _ = claim(for: 0, from: owner) }
}

/// The memory that contains the slots.
package protocol SwiftTaskMemory: Sendable {
  /// The first slot.
  var base: UnsafeMutableRawPointer { get }

  /// Whether the process of `owner` is known to have exited.
  func hasExited(_ owner: UInt64) -> Bool

  /// The number of lookups for which programs could not read the memory of the process.
  func unreadableCount() throws(BPFError) -> Int
}
