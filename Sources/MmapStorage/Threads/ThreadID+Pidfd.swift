// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
package import SystemPackage

extension ThreadID {
  /// The task of a pidfd, from `/proc/self/fdinfo`; nil if the descriptor is not a pidfd, or its
  /// task has ended or is not in this pid namespace.
  package init?(ofPidfd descriptor: FileDescriptor) {
    let path = FilePath("/proc/self/fdinfo/\(descriptor.rawValue)")
    guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else {
      return nil
    }
    defer { try? file.close() }
    guard let text = try? file.readToEnd() else { return nil }
    for line in String(decoding: text, as: UTF8.self).split(separator: "\n")
    where line.hasPrefix("Pid:") {
      let number = line.dropFirst("Pid:".count).drop { $0 == " " || $0 == "\t" }
      guard let id = Int32(number), id > 0 else { return nil }
      self.init(rawValue: id)
      return
    }
    return nil
  }
}
