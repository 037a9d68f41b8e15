// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
package import SystemPackage

extension ThreadID {
  /// The task of a pidfd, from `/proc/self/fdinfo`; nil if the descriptor is not a pidfd, or its
  /// task has ended or is not in this pid namespace.
  package init?(ofPidfd descriptor: FileDescriptor) {
    guard let number = descriptorInfo(descriptor.rawValue)["Pid:"], let id = Int32(exactly: number),
      id > 0
    else { return nil }
    self.init(rawValue: id)
  }
}
