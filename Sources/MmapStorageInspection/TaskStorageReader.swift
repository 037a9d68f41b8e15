// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues
public import MmapStorage

/// Reads the values of all tasks in a map, including those of other processes, without the Swift
/// type of the value.
///
/// A BPF task iterator copies the values in the kernel. It also reads user pages, which lookups do not.
/// Needs CAP_BPF and CAP_PERFMON, and Linux 5.11. If the Swift type of the value is known, use
/// `TaskLocalStorage.values()` instead.
///
/// ```swift
/// let reader = try TaskStorageReader(map: map)
/// for found in try reader.values() {
///   for field in reader.layout.fields { print(field.name, field.value(in: found.value)) }
/// }
/// ```
///
/// A reader may be used from any thread.
public final class TaskStorageReader: Sendable {
  private let iterator: TaskIterator

  /// Loads the iterator for a map. Takes about 100 ms, mostly to read the kernel's type information.
  ///
  /// - Parameters:
  ///   - map: A map of type `BPF_MAP_TYPE_TASK_STORAGE`. A read-only descriptor is enough.
  ///   - layout: The layout of the map's values; `nil` reads it from the map's type information, which
  ///     needs CAP_SYS_ADMIN.
  /// - Throws: `BPFError` of kind `wrongType`, `permissionDenied` or `loadFailed`, and what
  ///   `BPFMap.valueLayout()` throws.
  public init(map: BPFMap, layout: ValueLayout? = nil) throws(BPFError) {
    iterator = try TaskIterator(map: map, layout: layout)
  }

  /// The layout of the values.
  public var layout: ValueLayout { iterator.layout }

  /// Returns copies of all values as bytes, in the order of the kernel's list of tasks.
  ///
  /// Only tasks in the pid namespace of the calling process are visited. Values of more than 28 KiB are
  /// looked up one by one; smaller values are copied in one pass over all tasks.
  ///
  /// - Throws: `BPFError`.
  /// - Complexity: One step in the kernel for each task of the machine, about 100 ns.
  public func values() throws(BPFError) -> [TaskValue<[UInt8]>] { try iterator.values() }
}
