// SPDX-License-Identifier: Apache-2.0

/// Whether a thread and the BPF programs use the same memory as the thread's value.
public enum MappingState: Sendable, Hashable {
  /// They do.
  case own
  /// Somebody removed the thread's value from the map: programs find none, or a new one.
  case removed
  /// The map has other memory as the thread's value: somebody with write access to the map replaced it.
  case foreign
}
