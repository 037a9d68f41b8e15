// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
package import SystemPackage

extension ThreadID {
  /// The task of a pidfd, from `/proc/self/fdinfo`; nil if the descriptor is not a pidfd, or its
  /// task has ended or is not in this pid namespace.
  package init?(ofPidfd descriptor: FileDescriptor) {
    guard let text = readText("/proc/self/fdinfo/\(descriptor.rawValue)") else { return nil }
    for line in text.split(separator: "\n") where line.hasPrefix("Pid:") {
      let number = line.dropFirst("Pid:".count).drop { $0 == " " || $0 == "\t" }
      guard let id = Int32(number), id > 0 else { return nil }
      self.init(rawValue: id)
      return
    }
    return nil
  }
}
