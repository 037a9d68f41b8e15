// SPDX-License-Identifier: Apache-2.0
/// The type of a map; the numbers are the kernel's (`enum bpf_map_type`). Its text is libbpf's name.
public struct BPFMapType: RawRepresentable, Sendable, Hashable {
  /// The kernel's number.
  public var rawValue: UInt32

  /// Creates a type from the kernel's number. Numbers without a name here are allowed.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `BPF_MAP_TYPE_HASH`.
  package static let hash = BPFMapType(rawValue: 1)
  /// `BPF_MAP_TYPE_ARRAY`.
  package static let array = BPFMapType(rawValue: 2)
  /// `BPF_MAP_TYPE_PERCPU_HASH`.
  package static let perCPUHash = BPFMapType(rawValue: 5)
  /// `BPF_MAP_TYPE_PERCPU_ARRAY`.
  package static let perCPUArray = BPFMapType(rawValue: 6)
  /// `BPF_MAP_TYPE_LRU_HASH`.
  package static let lruHash = BPFMapType(rawValue: 9)
  /// `BPF_MAP_TYPE_LRU_PERCPU_HASH`.
  package static let lruPerCPUHash = BPFMapType(rawValue: 10)
  /// `BPF_MAP_TYPE_RINGBUF`.
  package static let ringbuf = BPFMapType(rawValue: 27)
  /// `BPF_MAP_TYPE_TASK_STORAGE`.
  public static let taskStorage = BPFMapType(rawValue: 29)
}

extension BPFMapType {
  /// `BPF_MAP_TYPE_PERF_EVENT_ARRAY`. It has an entry for each processor if the declaration has no
  /// number of entries.
  static let perfEventArray = BPFMapType(rawValue: 4)

  /// Whether an element has a value for each possible processor.
  package var isPerCPU: Bool {
    // 21 is BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE.
    [.perCPUHash, .perCPUArray, .lruPerCPUHash, .init(rawValue: 21)].contains(self)
  }
}

extension BPFMapType: CustomStringConvertible {
  /// libbpf's name, such as "task_storage".
  public var description: String { libbpfName(of: self) ?? "type \(rawValue)" }
}
