// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

extension ForkRank {
  /// The registrations of the process for its Swift tasks. Runs programs.
  static let swiftTasks = ForkRank(position: -2)
  /// The programs that are loaded once for each map. Loads objects.
  static let programs = ForkRank(position: -1)
  /// Threads, storages and attachments.
  static let registry = ForkRank(position: 1)
  /// The reserved descriptor for pidfds, then the lock for opening a pidfd.
  static let pidfds = ForkRank(position: 2)
  // MmapStorageTesting uses 3.
  /// Memory that a child does not share. Has no lock.
  static let mappings = ForkRank(position: 4)
}
