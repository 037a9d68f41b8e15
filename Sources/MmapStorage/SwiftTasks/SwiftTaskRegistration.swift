// SPDX-License-Identifier: Apache-2.0
internal import Glibc
internal import LibBPF

/// The registrations of the process: one for each map, shared by all storages over the map.
struct SwiftTaskRegistration: Sendable {
  private struct Key: Hashable {
    var process: pid_t
    var map: UInt32
  }

  private struct Entry {
    weak var slots: SwiftTaskSlots?
    var serial: Int
  }

  private struct State {
    var entries: [Key: Entry] = [:]
    var lastSerial = 0
  }

  private static let state = ForkSafeMutex(State(), rank: .swiftTasks)
  /// Servers keep storages until they exit. In a child PID namespace, other processes cannot detect
  /// the exit.
  private static let releasesAtExit: Void = {
    atexit { SwiftTaskRegistration.releaseFreeSlots() }
  }()

  private let key: Key
  private let serial: Int

  /// The slots of this process in the map. If there are none, `make` creates them and `register`
  /// registers them.
  static func slots(
    ofMap id: UInt32,
    make: (SwiftTaskRegistration) throws(BPFError) -> SwiftTaskSlots,
    register: (SwiftTaskSlots) throws(BPFError) -> Void
  ) throws(BPFError) -> SwiftTaskSlots {
    let key = Key(process: getpid(), map: id)
    Self.releasesAtExit
    // Released without the lock, because the deinitializer of the slots acquires it.
    var made: SwiftTaskSlots?
    defer { withExtendedLifetime(made) {} }
    return try state.withLock { (state) throws(BPFError) in
      if let slots = state.entries[key]?.slots { return slots }
      state.lastSerial += 1
      let slots = try make(SwiftTaskRegistration(key: key, serial: state.lastSerial))
      made = slots
      try register(slots)
      state.entries[key] = Entry(slots: slots, serial: state.lastSerial)
      return slots
    }
  }

  private static func releaseFreeSlots() {
    let process = getpid()
    let all = state.withLock { state in
      state.entries.compactMap { key, entry in key.process == process ? entry.slots : nil }
    }
    for slots in all { slots.releaseFree() }
  }

  /// Ends the registration, unless a later one has replaced it or this is the child of a fork.
  func end(_ control: SwiftTaskControl) {
    Self.state.withLock { state in
      let current = state.entries[key]?.serial ?? serial
      guard current == serial, key.process == getpid() else { return }
      state.entries[key] = nil
      control.unregister()
    }
  }
}
