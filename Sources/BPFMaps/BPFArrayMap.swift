// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues
internal import SystemPackage

/// An array map (`BPF_MAP_TYPE_ARRAY`) with typed values.
///
/// Each access is a system call of libbpf; see ``BPFMappedArray`` for an array that can be mapped. May
/// be used from any thread. Keeps the map open.
///
/// - Precondition: Every index is in `0..<count`. Other indices trap.
public struct BPFArrayMap<Value: MapField>: Sendable {
  private let elements: MapElements<UInt32, Value>

  /// Opens a map, and compares the layout of its values.
  ///
  /// - Parameters:
  ///   - map: The map.
  ///   - layout: The layout of its values. A process that cannot read it from the kernel (CAP_SYS_ADMIN)
  ///     reads it from the object file with ``BPFObject/layout(ofMap:)``.
  /// - Throws: As ``BPFHashMap/init(_:)``.
  public init(_ map: BPFMap, layout: ValueLayout? = nil) throws(BPFError) {
    elements = try MapElements(
      map,
      types: [.array],
      layout: layout,
      attempt: "use it as an array"
    )
  }

  /// The number of elements.
  public var count: Int { elements.maxEntries }

  /// The indices of all elements.
  public var indices: Range<Int> { 0..<count }

  /// Returns a copy of an element (`bpf_map_lookup_elem`).
  ///
  /// - Throws: A system error.
  public func value(at index: Int) throws(BPFError) -> Value {
    let key = checked(index, count)
    guard let value = try elements.values(of: key, "read element \(index)")?.first else {
      throw missing(index, elements.handle.name)
    }
    return value
  }

  /// Overwrites an element (`bpf_map_update_elem`).
  ///
  /// - Throws: A system error.
  public func setValue(_ value: Value, at index: Int) throws(BPFError) {
    _ = try elements.set([value], of: checked(index, count), .always, "set element \(index)")
  }
}

/// An array map with a value for each processor (`BPF_MAP_TYPE_PERCPU_ARRAY`), with typed values.
///
/// Each access is a system call of libbpf. May be used from any thread. Keeps the map open.
///
/// - Precondition: Every index is in `0..<count`. Other indices trap.
public struct BPFPerCPUArrayMap<Value: MapField>: Sendable {
  private let elements: MapElements<UInt32, Value>

  /// Opens a map, and compares the layout of its values.
  ///
  /// - Throws: As ``BPFHashMap/init(_:)``.
  public init(_ map: BPFMap) throws(BPFError) {
    elements = try MapElements(map, types: [.perCPUArray], attempt: "use it as a per-CPU array")
  }

  /// The number of elements.
  public var count: Int { elements.maxEntries }

  /// The indices of all elements.
  public var indices: Range<Int> { 0..<count }

  /// The number of values of an element: that of the possible processors (`libbpf_num_possible_cpus`).
  public var processorCount: Int { elements.copies }

  /// Returns the values of an element, one for each possible processor, in the order of their numbers.
  ///
  /// - Throws: A system error.
  public func values(at index: Int) throws(BPFError) -> [Value] {
    let key = checked(index, count)
    guard let values = try elements.values(of: key, "read element \(index)") else {
      throw missing(index, elements.handle.name)
    }
    return values
  }

  /// Overwrites the values of an element, in the order of the processors' numbers.
  ///
  /// - Precondition: There are ``processorCount`` values.
  /// - Throws: A system error.
  public func setValues(_ values: [Value], at index: Int) throws(BPFError) {
    _ = try elements.set(values, of: checked(index, count), .always, "set element \(index)")
  }
}

/// An array map that is mapped into the process (`BPF_F_MMAPABLE`, Linux 5.5), with typed values.
///
/// An access costs no system call, and programs see writes immediately. May be used from any thread. Several
/// accesses are not atomic; see ``StorageView``.
///
/// - Precondition: Every index is in `0..<count`. Other indices trap.
public final class BPFMappedArray<Value: MapField>: Sendable {
  private let elements: MapElements<UInt32, Value>
  private let memory: MemoryMapping
  private let stride: Int

  /// The number of elements.
  public let count: Int

  /// Maps a map, and compares the layout of its values.
  ///
  /// - Throws: As ``BPFHashMap/init(_:)``; ``BPFError/Kind/wrongType`` if the map has no
  ///   `BPF_F_MMAPABLE`; a system error of `mmap(2)`.
  public init(_ map: BPFMap) throws(BPFError) {
    let attempt = "map the array"
    elements = try MapElements(map, types: [.array], attempt: attempt)
    let info = try map.info
    guard info.flags.contains(.mmapable) else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: map.describedName,
        advice: "declare it with __uint(map_flags, BPF_F_MMAPABLE)"
      )
    }
    count = elements.maxEntries
    // The kernel rounds each value up to eight bytes.
    stride = (MemoryLayout<Value>.stride + 7) & ~7
    do throws(Errno) {
      memory = try elements.handle.mapMemory(size: stride * count)
    } catch {
      let advice: String? =
        if elements.handle.isWriteOnly {
          writeOnlyAdvice
        } else if info.isWritable, info.flags.isDisjoint(with: [.rdonly, .wronly, .rdonlyProg]) {
          nil
        } else {
          "the array is read-only, frozen, or has the flags \(info.flags), and the kernel does not map it for "
            + "writing; use BPFArrayMap"
        }
      throw BPFError(errno: error, attempt: attempt, on: map.describedName, advice: advice)
    }
  }

  /// The indices of all elements.
  public var indices: Range<Int> { 0..<count }

  /// A copy of an element. The copy of a structure is not atomic.
  ///
  /// Write the fields of a structure with ``withElement(at:_:)``.
  public subscript(index: Int) -> Value { address(of: index).loadWhole(as: Value.self) }

  /// Runs `body` with a view of an element. Each access to a field is one load or store.
  ///
  /// To overwrite a whole element, use ``StorageView/store(_:)``.
  ///
  /// - Parameters:
  ///   - index: The element.
  ///   - body: Reads and writes the fields. The view cannot escape from it.
  /// - Returns: The result of `body`.
  /// - Throws: The error of `body`.
  public func withElement<Result: ~Copyable, Failure: Error>(
    at index: Int,
    _ body: (borrowing StorageView<Value>) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try body(StorageView(at: address(of: index), copy: nil))
  }

  fileprivate func address(of index: Int) -> FieldAddress {
    memory.field(Value.self, at: Int(checked(index, count)) * stride)
  }
}

extension BPFMappedArray where Value: MapScalar {
  /// An element that is a scalar: one volatile load or store of its width. An assignment such as `+=` is a load and
  /// a store. To add atomically, let the program do so.
  public subscript(index: Int) -> Value {
    get { address(of: index).loadWhole(as: Value.self) }
    set { address(of: index).storeWhole(newValue) }
  }
}

private func checked(_ index: Int, _ count: Int) -> UInt32 {
  precondition(index >= 0 && index < count, "array index out of range")
  return UInt32(index)
}

private func missing(_ index: Int, _ name: String) -> BPFError {
  BPFError(
    .notFound,
    attempt: "read element \(index)",
    on: "map '\(name)'",
    advice: "the kernel reports that the element does not exist"
  )
}
