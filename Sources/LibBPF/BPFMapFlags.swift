// SPDX-License-Identifier: Apache-2.0

/// The flags that a map is created with: the kernel's `BPF_F_*` flags for maps.
public struct BPFMapFlags: OptionSet, Sendable, Hashable {
  /// The kernel's bits.
  public var rawValue: UInt32

  /// Creates flags from the kernel's bits. Bits without a name here are kept.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `BPF_F_NO_PREALLOC`: elements are allocated when they are created. Required for task storage.
  public static let noPrealloc = BPFMapFlags(rawValue: 1 << 0)
  /// `BPF_F_RDONLY`: user space may only read.
  package static let rdonly = BPFMapFlags(rawValue: 1 << 3)
  /// `BPF_F_WRONLY`: user space may only write.
  package static let wronly = BPFMapFlags(rawValue: 1 << 4)
  /// `BPF_F_RDONLY_PROG`: BPF programs may only read.
  package static let rdonlyProg = BPFMapFlags(rawValue: 1 << 7)
  /// `BPF_F_MMAPABLE`: the map's values can be mapped. Arrays since Linux 5.5; task storage with
  /// this project's kernel patches.
  public static let mmapable = BPFMapFlags(rawValue: 1 << 10)
}

extension BPFMapFlags: CustomStringConvertible {
  /// The C names, such as "BPF_F_NO_PREALLOC | BPF_F_MMAPABLE", or "0".
  public var description: String {
    let names: [(BPFMapFlags, String)] = [
      (.noPrealloc, "BPF_F_NO_PREALLOC"), (.rdonly, "BPF_F_RDONLY"),
      (.wronly, "BPF_F_WRONLY"), (.rdonlyProg, "BPF_F_RDONLY_PROG"),
      (.mmapable, "BPF_F_MMAPABLE"),
    ]
    var rest = self
    var words: [String] = []
    for (flag, name) in names where rest.contains(flag) {
      words.append(name)
      rest.remove(flag)
    }
    if !rest.isEmpty || words.isEmpty {
      words.append(rest.isEmpty ? "0" : "0x" + String(rest.rawValue, radix: 16))
    }
    return words.joined(separator: " | ")
  }
}
