// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
public import SystemPackage

/// A BPF map, with a descriptor that it owns.
///
/// A map that was taken from a ``BPFObject`` keeps the object alive, so that the object's programs stay
/// attached. It may be used from any thread. ``close()`` does not wait: the descriptor is closed when the
/// last call in flight has returned, never while a call uses it.
public final class BPFMap: Sendable {
  /// The name in the program's source. For a map that was not taken from an object, the kernel's name, which
  /// has at most 15 bytes.
  public let name: String

  /// The object that the map was taken from; `nil` for pinned maps and received descriptors.
  package let object: BPFObject?

  private let descriptor: CInt
  private let inFlightCalls = InFlightCalls()

  /// Opens a map that is pinned on a BPF file system (`BPF_OBJ_GET`).
  ///
  /// Costs about three system calls. Needs the permission to open the file; before Linux 5.19 also
  /// CAP_BPF where `kernel.unprivileged_bpf_disabled` is set.
  ///
  /// - Parameters:
  ///   - path: The path, such as "/sys/fs/bpf/request_tags".
  ///   - readOnly: Opens it for lookups only (`BPF_F_RDONLY`), which needs only read permission.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if it is not a map or not on a
  ///   BPF file system, ``BPFError/Kind/permissionDenied``, or another system error.
  public init(pinnedAt path: FilePath, readOnly: Bool = false) throws(BPFError) {
    let attempt = "open the pinned map"
    let subject = "path '\(path)'"
    let descriptor = try openPinned(path, readOnly: readOnly, attempt: attempt, on: subject)
    do throws(BPFError) {
      name = try inspectMap(descriptor, attempt: attempt, on: subject).kernelName
    } catch {
      closeDescriptor(descriptor)
      throw error
    }
    self.descriptor = descriptor
    object = nil
  }

  /// Takes ownership of a map's descriptor, such as one that another process sent.
  ///
  /// If this throws, the caller still owns the descriptor.
  ///
  /// - Parameter descriptor: An open descriptor of a map.
  /// - Throws: ``BPFError/Kind/wrongState`` if it is closed, ``BPFError/Kind/wrongType`` if it is not
  ///   a map's.
  public init(adopting descriptor: FileDescriptor) throws(BPFError) {
    let info = try inspectMap(
      descriptor.rawValue,
      attempt: "adopt the map",
      on: "descriptor \(descriptor.rawValue)"
    )
    self.descriptor = descriptor.rawValue
    name = info.kernelName
    object = nil
  }

  /// Duplicates a map's descriptor, such as the result of `bpf_map__fd()` in C code of this process. The copy has
  /// close-on-exec set, and the caller still owns the original.
  ///
  /// - Parameter descriptor: An open descriptor of a map.
  /// - Throws: ``BPFError/Kind/wrongState`` if it is closed, ``BPFError/Kind/wrongType`` if it is not
  ///   a map's, ``BPFError/Kind/outOfResources`` if the process may open no more descriptors.
  public init(duplicating descriptor: FileDescriptor) throws(BPFError) {
    let attempt = "duplicate the map's descriptor"
    let subject = "descriptor \(descriptor.rawValue)"
    let info = try inspectMap(descriptor.rawValue, attempt: attempt, on: subject)
    self.descriptor = try copyDescriptor(descriptor.rawValue, attempt: attempt, on: subject)
    name = info.kernelName
    object = nil
  }

  init(duplicating descriptor: CInt, name: String, object: BPFObject) throws(BPFError) {
    self.descriptor = try copyDescriptor(
      descriptor,
      attempt: "open the map",
      on: "map '\(name)'"
    )
    self.name = name
    self.object = object
  }

  /// Creates a map (`BPF_MAP_CREATE`). Some types of map need the types of key and value.
  package init(
    creating type: BPFMapType,
    name: String,
    keySize: Int,
    valueSize: Int,
    maxEntries: Int = 0,
    flags: BPFMapFlags = [],
    types: MapTypes? = nil
  ) throws(BPFError) {
    let attempt = "create a map of type \(type) with flags \(flags)"
    let subject = "map '\(name)'"
    guard let key = UInt32(exactly: keySize), let value = UInt32(exactly: valueSize),
      let entries = UInt32(exactly: maxEntries)
    else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: subject,
        advice: "a size is out of range"
      )
    }
    var btf: CInt = -1
    if let types { btf = try types.btf.loadIntoKernel(attempt: attempt, on: subject) }
    defer { if btf >= 0 { closeDescriptor(btf) } }
    var warnings = ""
    let descriptor = capturingWarnings(&warnings) {
      createMap(
        type,
        name: name,
        sizes: (key, value, entries),
        flags,
        btf: btf,
        keyType: types?.key ?? 0,
        valueType: types?.value ?? 0
      )
    }
    guard descriptor >= 0 else {
      throw BPFError(code: descriptor, attempt: attempt, on: subject, details: warnings)
    }
    self.descriptor = descriptor
    self.name = name
    object = nil
  }

  deinit {
    if inFlightCalls.close() { closeDescriptor(descriptor) }
  }

  /// Closes the descriptor when the calls in flight have returned.
  ///
  /// Closing again does nothing; every other call after it throws ``BPFError/Kind/wrongState``.
  public func close() {
    if inFlightCalls.close() { closeDescriptor(descriptor) }
  }

  /// Passes the map's descriptor to `body`, and does not close it before `body` has returned. Costs no system
  /// call. Use it for calls that this type does not have, or to send the descriptor to another process.
  ///
  /// - Parameter body: Uses the descriptor; must not close or keep it.
  /// - Returns: The result of `body`.
  /// - Throws: The error of `body`, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func withDescriptor<Result: ~Copyable>(
    _ body: (FileDescriptor) throws -> Result
  ) throws -> Result {
    let descriptor = try beginCall(for: "use the descriptor")
    defer { endCall() }
    return try body(FileDescriptor(rawValue: descriptor))
  }

  /// The kernel's information about the map (`BPF_OBJ_GET_INFO_BY_FD`).
  ///
  /// Needs no privileges. Costs about six system calls: the memory, and whether the map is frozen, are
  /// read from `/proc`.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` after ``close()``.
  public var info: BPFMapInfo {
    get throws(BPFError) {
      let attempt = "read the map's info"
      return try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
        let info = try inspectMap(descriptor.rawValue, attempt: attempt, on: describedName)
        let facts = descriptorInfo(descriptor.rawValue)
        return BPFMapInfo(
          type: BPFMapType(rawValue: info.type),
          id: info.id,
          name: info.kernelName,
          keySize: Int(info.key_size),
          valueSize: Int(info.value_size),
          maxEntries: Int(info.max_entries),
          flags: BPFMapFlags(rawValue: info.map_flags),
          btfID: info.btf_id,
          btfKeyTypeID: info.btf_key_type_id,
          btfValueTypeID: info.btf_value_type_id,
          isWritable: canChangeMap(descriptor.rawValue, facts),
          memory: facts["memlock:"]
        )
      }
    }
  }

  /// The type information that the map was created with, from the kernel. Needs CAP_SYS_ADMIN.
  ///
  /// - Throws: ``BPFError/Kind/layoutUnavailable`` if the map has none, or this process may not read
  ///   it; ``BPFError/Kind/wrongState`` after ``close()``.
  package func kernelTypes() throws(BPFError) -> MapTypes {
    let attempt = "read the value layout"
    let info = try info
    guard info.btfID != 0, info.btfValueTypeID != 0 else {
      throw BPFError(
        .layoutUnavailable,
        attempt: attempt,
        on: describedName,
        advice: "the map was created without type information; declare its value with "
          + "__type(value, struct …), compile with -g and load it with libbpf"
      )
    }
    return MapTypes(
      btf: try BTF(kernelID: info.btfID, attempt: attempt, on: describedName),
      key: info.btfKeyTypeID,
      value: info.btfValueTypeID
    )
  }

  package func withDescriptor<Result: ~Copyable>(
    for attempt: String,
    _ body: (FileDescriptor) throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    let descriptor = try beginCall(for: attempt)
    defer { endCall() }
    return try body(FileDescriptor(rawValue: descriptor))
  }

  func beginCall(for attempt: String) throws(BPFError) -> CInt {
    guard inFlightCalls.begin() else {
      endCall()
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: describedName,
        advice: "the map is closed; open it again"
      )
    }
    return descriptor
  }

  func endCall() {
    if inFlightCalls.end() { closeDescriptor(descriptor) }
  }

  package var describedName: String {
    name.isEmpty ? "map without a name" : "map '\(name)'"
  }
}

/// The types of a map's key and value.
package struct MapTypes: Sendable {
  package let btf: BTF
  package let key: UInt32
  package let value: UInt32

  package init(btf: BTF, key: UInt32, value: UInt32) {
    self.btf = btf
    self.key = key
    self.value = value
  }
}

/// Reads the kernel's information about a map's descriptor, after checking that it refers to a map.
func inspectMap(
  _ descriptor: CInt,
  attempt: String,
  on subject: String
) throws(BPFError) -> bpf_map_info {
  if case .failure(let errno) = isWritable(descriptor) {
    throw BPFError(errno: errno, attempt: attempt, on: subject)
  }
  // The call below also accepts the descriptor of a program or link. Without /proc, these cannot be
  // distinguished; type and sizes are checked when the map is used.
  if let target = descriptorTarget(descriptor), target != "anon_inode:bpf-map" {
    let what =
      switch target {
      case "anon_inode:bpf-prog": "a BPF program"
      case "anon_inode:bpf_link", "anon_inode:bpf-link": "a BPF link"
      case "anon_inode:btf": "BPF type information"
      default: "'\(target)'"
      }
    throw BPFError(.wrongType, attempt: attempt, on: subject, advice: "it is \(what), not a map")
  }
  let (code, info) = readMapInfo(descriptor)
  guard code == 0 else {
    throw BPFError(
      code == -EINVAL ? .wrongType : nil,
      code: code,
      attempt: attempt,
      on: subject
    )
  }
  return info
}
