// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF

// Invariant: `base` is the address of `size` bytes from `init` to `deinit`.

/// The slots of a kernel map, mapped into the process, and the registration of the process.
@safe
final class MappedSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let control: SwiftTaskControl
  private let mapping: UnsharedMapping
  /// Keeps the object alive, so that its programs stay attached.
  private let map: BPFMap
  private let registration: SwiftTaskRegistration
  private let owners: SwiftTaskOwners

  /// Maps the slots. The registration ends when the memory is released.
  init(
    _ map: BPFMap,
    size: Int,
    control: SwiftTaskControl,
    owner: UInt64,
    registration: SwiftTaskRegistration,
    attempt: String
  ) throws(BPFError) {
    mapping = try UnsharedMapping(map, size: size, attempt: attempt)
    // A mapping has a base address.
    unsafe base = mapping.memory.bytes.baseAddress.unsafelyUnwrapped
    self.control = control
    self.map = map
    self.registration = registration
    owners = SwiftTaskOwners(own: owner)
  }

  deinit { registration.end(control) }

  func hasExited(_ owner: UInt64) -> Bool { owners.hasExited(owner) }

  func unreadableCount() throws(BPFError) -> Int { try control.unreadableCount() }
}
