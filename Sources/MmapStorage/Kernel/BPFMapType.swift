import CLibBPFShim

/// What kind of map a map is: the kernel's `enum bpf_map_type`.
public struct BPFMapType: RawRepresentable, Sendable, Hashable {
  /// The kernel's number.
  public var rawValue: UInt32

  /// Wraps a number of the kernel's, known to this library or not.
  public init(rawValue: UInt32) { self.rawValue = rawValue }

  /// `BPF_MAP_TYPE_HASH`.
  public static let hash = BPFMapType(rawValue: 1)
  /// `BPF_MAP_TYPE_ARRAY`; an object's globals are arrays of one element.
  public static let array = BPFMapType(rawValue: 2)
  /// `BPF_MAP_TYPE_RINGBUF`.
  public static let ringBuffer = BPFMapType(rawValue: 27)
  /// `BPF_MAP_TYPE_TASK_STORAGE`: one value for each task, since Linux 5.11.
  public static let taskStorage = BPFMapType(rawValue: 29)
}

extension BPFMapType: CustomStringConvertible {
  /// The kernel's word in lower case, such as "task_storage".
  public var description: String {
    guard let name = mms_map_type_name(rawValue) else { return "type \(rawValue)" }
    return String(cString: name)
  }
}
