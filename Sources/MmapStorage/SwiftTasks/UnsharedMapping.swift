// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

/// The mapped values of a map. In a child of `fork`, private zeroes replace them.
final class UnsharedMapping: Sendable {
  private let child: Child
  var memory: MemoryMapping { child.memory }

  /// Maps the values, which are `size` bytes.
  init(_ map: BPFMap, size: Int, attempt: String) throws(BPFError) {
    guard ForkParticipants.isInstalled else {
      throw BPFError(
        errno: .noMemory,
        attempt: attempt,
        on: map.describedName,
        advice: "there is no memory for handlers of fork (pthread_atfork)"
      )
    }
    let handle = try MapHandle(map, for: attempt)
    do throws(Errno) {
      child = Child(try handle.mapMemory(size: size))
    } catch {
      throw BPFError(
        errno: error,
        attempt: attempt,
        on: map.describedName,
        advice: error == .notPermitted || error == .permissionDenied
          ? "the descriptor is read-only, or the map is frozen" : nil
      )
    }
    ForkParticipants.add(child, rank: .mappings)
  }

  deinit { ForkParticipants.remove(child, rank: .mappings) }
}

/// Replaces the mapping in a child of `fork`. Keeps the memory alive while a `fork` uses it.
private final class Child: ForkParticipant {
  let memory: MemoryMapping

  init(_ memory: MemoryMapping) { self.memory = memory }

  func prepareForFork() {}
  func resumeInParent() {}
  func resumeInChild() { memory.replaceWithZeroes() }
}
