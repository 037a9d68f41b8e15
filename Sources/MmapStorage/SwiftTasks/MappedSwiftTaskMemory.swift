// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

/// Slots in a map of the kernel's, mapped into the process, and the registration of the process.
@safe
final class MappedSwiftTaskMemory: SwiftTaskMemory {
  nonisolated(unsafe) let base: UnsafeMutableRawPointer
  let control: SwiftTaskControl
  /// Keeps the object, and so its programs attached.
  private let map: BPFMap
  private let registration: SwiftTaskRegistration
  private let seesAllProcesses: Bool

  /// Maps the slots. The registration ends when the memory is released.
  init(
    _ map: BPFMap,
    size: Int,
    control: SwiftTaskControl,
    owner: UInt64,
    registration: SwiftTaskRegistration,
    attempt: String
  ) throws(BPFError) {
    unsafe base = try unsafe map.withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      var address: UnsafeMutableRawPointer?
      let code = unsafe mms_map_for_process(descriptor.rawValue, size, &address)
      guard code == 0, let address = unsafe address else {
        throw BPFError(
          code: code,
          attempt: attempt,
          on: map.describedName,
          advice: code == -Errno.notPermitted.rawValue || code == -Errno.permissionDenied.rawValue
            ? "the descriptor is read-only, or the map is frozen" : nil
        )
      }
      return unsafe address
    }
    self.control = control
    self.map = map
    self.registration = registration
    // The owner has the number that the process has in the first namespace of process ids. Elsewhere
    // the numbers of other processes say nothing here.
    seesAllProcesses = owner >> 32 == UInt64(getpid())
  }

  deinit {
    registration.end(control)
    unsafe mms_unmap_for_process(base)
  }

  func hasExited(_ owner: UInt64) -> Bool {
    guard seesAllProcesses, let process = pid_t(exactly: owner >> 32), process > 0 else {
      return false
    }
    return kill(process, 0) != 0 && Glibc.errno == ESRCH
  }
}

/// A process's registrations: one for each map, shared by all storages over the map.
struct SwiftTaskRegistration: Sendable {
  private struct Key: Hashable {
    var process: pid_t
    var map: UInt32
  }

  private struct Entry {
    weak var slots: SwiftTaskSlots?
    var serial: Int
  }

  private static let lock = ForkSafeLock()
  private nonisolated(unsafe) static var entries: [Key: Entry] = [:]
  private nonisolated(unsafe) static var lastSerial = 0
  private static let forkHandlers: Void = {
    pthread_atfork(
      { SwiftTaskRegistration.lock.lock() },
      { SwiftTaskRegistration.lock.unlock() },
      { SwiftTaskRegistration.lock.unlock() }
    )
  }()

  private let key: Key
  private let serial: Int

  /// The slots of this process in the map, made by `make` if there are none.
  static func slots(
    ofMap id: UInt32,
    _ make: (SwiftTaskRegistration) throws(BPFError) -> SwiftTaskSlots
  ) throws(BPFError) -> SwiftTaskSlots {
    _ = forkHandlers
    let key = Key(process: getpid(), map: id)
    return try lock.withLock { () throws(BPFError) in
      if let slots = unsafe entries[key]?.slots { return slots }
      unsafe lastSerial += 1
      let slots = try unsafe make(SwiftTaskRegistration(key: key, serial: lastSerial))
      unsafe entries[key] = Entry(slots: slots, serial: lastSerial)
      return slots
    }
  }

  /// Ends the registration, unless a later one took its place or this is the child of a fork.
  func end(_ control: SwiftTaskControl) {
    Self.lock.withLock {
      let current = unsafe Self.entries[key]?.serial ?? serial
      guard current == serial, key.process == getpid() else { return }
      unsafe Self.entries[key] = nil
      control.unregister()
    }
  }
}
