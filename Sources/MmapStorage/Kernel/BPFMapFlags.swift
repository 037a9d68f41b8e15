/// How a map was, or is to be, created: the kernel's `BPF_F_*` flags for maps.
public struct BPFMapFlags: OptionSet, Sendable, Hashable {
  /// The kernel's bits.
  public var rawValue: UInt32

  /// Wraps bits of the kernel's, known to this library or not.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `BPF_F_NO_PREALLOC`: elements take memory when they are made. Task storage requires it.
  public static let noPreallocation = BPFMapFlags(rawValue: 1 << 0)
  /// `BPF_F_RDONLY`: user space may only read.
  public static let readOnlyForUser = BPFMapFlags(rawValue: 1 << 3)
  /// `BPF_F_WRONLY`: user space may only write.
  public static let writeOnlyForUser = BPFMapFlags(rawValue: 1 << 4)
  /// `BPF_F_RDONLY_PROG`: BPF programs may only read.
  public static let readOnlyForProgram = BPFMapFlags(rawValue: 1 << 7)
  /// `BPF_F_MMAPABLE`: the map's bytes can be mapped. Arrays since Linux 5.5; task storage with
  /// this project's kernel patch.
  public static let mappable = BPFMapFlags(rawValue: 1 << 10)
}

extension BPFMapFlags: CustomStringConvertible {
  /// The C names, such as "BPF_F_NO_PREALLOC | BPF_F_MMAPABLE", or "0".
  public var description: String {
    let names: [(BPFMapFlags, String)] = [
      (.noPreallocation, "BPF_F_NO_PREALLOC"), (.readOnlyForUser, "BPF_F_RDONLY"),
      (.writeOnlyForUser, "BPF_F_WRONLY"), (.readOnlyForProgram, "BPF_F_RDONLY_PROG"),
      (.mappable, "BPF_F_MMAPABLE"),
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
