// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage
package import Testing

/// A memory cgroup for the values of a map. The kernel charges them to the cgroup of the process that
/// creates the map.
package struct MemoryCgroup {
  private static let hasVersion2 = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0
  private static let root = hasVersion2 ? "/sys/fs/cgroup" : "/sys/fs/cgroup/memory"
  private let path = "\(root)/mmap-storage-\(getpid())"

  /// The reason why there are none, or nil.
  package static var obstacle: String? {
    access("\(root)/cgroup.procs", W_OK) == 0 ? nil : "\(root)/cgroup.procs cannot be written"
  }

  package init() throws {
    if Self.hasVersion2 { try write("+memory", to: "\(Self.root)/cgroup.subtree_control") }
    guard mkdir(path, 0o755) == 0 else { throw Errno(rawValue: errno) }
  }

  /// Runs `body` in the cgroup, which is charged for the maps that it creates.
  package func charging<Result>(_ body: () throws -> Result) throws -> Result {
    try write("0", to: "\(path)/cgroup.procs")
    let result = Swift.Result { try body() }
    try write("0", to: "\(Self.root)/cgroup.procs")
    return try result.get()
  }

  /// Sets the limit to the memory in use, or less.
  package func allowNoMore() throws {
    guard !Self.hasVersion2 else { return try write("0", to: "\(path)/memory.max") }
    try write(read("\(path)/memory.usage_in_bytes"), to: "\(path)/memory.limit_in_bytes")
  }

  package func allowAll() throws {
    try write(
      Self.hasVersion2 ? "max" : "-1",
      to: "\(path)/\(Self.hasVersion2 ? "memory.max" : "memory.limit_in_bytes")"
    )
  }

  /// Removes the cgroup, which contains no process.
  package func remove() { rmdir(path) }

  private func write(_ text: String, to path: String) throws {
    let file = try FileDescriptor.open(path, .writeOnly, options: .closeOnExec)
    try file.closeAfter { _ = try file.writeAll(text.utf8) }
  }

  private func read(_ path: String) throws -> String {
    let file = try FileDescriptor.open(path, .readOnly, options: .closeOnExec)
    return try file.closeAfter {
      try withUnsafeTemporaryAllocation(byteCount: 64, alignment: 1) { buffer in
        let count = try file.read(into: buffer)
        return String(decoding: buffer.prefix(count), as: UTF8.self)
      }
    }
  }
}

extension Trait where Self == ConditionTrait {
  /// Skips the test with the reason if no memory cgroup can be created.
  package static var memoryCgroups: Self {
    .enabled(if: MemoryCgroup.obstacle == nil, "\(MemoryCgroup.obstacle ?? "")")
  }
}
