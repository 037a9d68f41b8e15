// SPDX-License-Identifier: Apache-2.0

/// Whether a thread and BPF programs use the same memory for the thread's value.
public enum MappingState: Sendable, Hashable {
  /// They use the same memory.
  case own
  /// The thread's value was removed from the map: programs find no value, or a new one.
  case removed
  /// A process with write access to the map replaced the memory of the thread's value.
  case foreign
}
