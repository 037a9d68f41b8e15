// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import Synchronization

/// The scopes that are open after their request has ended, because a `Task {}` continues in them.
///
/// Their values are final when the last such Swift task ends, if it ends. Until then, their costs
/// are read from the slots.
final class OpenScopes: Sendable {
  private let slots: BPFArrayMap<RequestSlot>
  private let storage: SwiftTaskStorage<RequestValue>
  private let requests = Mutex<[UInt64: PendingRequest]>([:])
  private let owner = Mutex<UInt64?>(nil)

  /// - Parameters:
  ///   - map: The map of the storage.
  ///   - layout: Its layout, if this process may not read it.
  ///   - storage: The storage.
  /// - Throws: `BPFError`.
  init(
    _ map: BPFMap,
    layout: ValueLayout?,
    of storage: SwiftTaskStorage<RequestValue>
  ) throws(BPFError) {
    slots = try BPFArrayMap(map, layout: layout)
    self.storage = storage
  }

  func insert(_ request: PendingRequest) { requests.withLock { $0[request.id] = request } }

  func remove(_ request: PendingRequest) {
    requests.withLock { _ = $0.removeValue(forKey: request.id) }
  }

  /// Removes all requests, when programs add no more costs to their scopes.
  func removeAll() { requests.withLock { $0 = [:] } }

  /// Adds the costs of the scopes since the last call to the routes of their requests. A system call for
  /// each slot, if there are such scopes.
  func addCosts() {
    let requests = requests.withLock { $0 }
    guard !requests.isEmpty, let owner = findOwner() else { return }
    var costs: [UInt64: KernelCosts] = [:]
    for index in slots.indices {
      guard let slot = try? slots.value(at: index), slot.owner == owner, slot.holder != 0,
        requests[slot.value.id] != nil
      else { continue }
      costs[slot.value.id, default: KernelCosts()] += slot.value.costs
    }
    for (id, costs) in costs { requests[id]?.addOpen(costs) }
  }

  /// The owner word of this process's slots, read from a scope with a unique value.
  private func findOwner() -> UInt64? {
    if let owner = owner.withLock({ $0 }) { return owner }
    let (high, low) = (UInt64.random(in: .min ... .max), UInt64.random(in: .min ... .max))
    let (found, _) = storage.withValue({ value in
      value.traceIDHigh = high
      value.traceIDLow = low
    }) {
      slots.indices.lazy.compactMap { try? self.slots.value(at: $0) }
        .first { ($0.value.traceIDHigh, $0.value.traceIDLow) == (high, low) }?.owner
    }
    owner.withLock { $0 = found }
    return found
  }
}

/// A slot of SWIFT_TASK_STORAGE().
private struct RequestSlot: MapValue, BitwiseCopyable {
  var owner: UInt64 = 0
  var holder: UInt64 = 0
  var task: UInt64 = 0
  var binding: UInt64 = 0
  var value = RequestValue()
  /// Slots are aligned to 64 bytes.
  var padding = InlineArray<6, UInt64>(repeating: 0)

  static var fields: Fields<Self> {
    Field("owner", \.owner)
    Field("holder", \.holder)
    Field("task", \.task)
    Field("binding", \.binding)
    Field("value", \.value)
    Field.padding(bytes: 336..<384)
  }
}
