import CLibBPFShim
import Synchronization
public import SystemPackage

/// A BPF map that this process has a descriptor of.
///
/// A map owns its descriptor and outlives the ``BPFObject`` that it came from. It may be used from
/// any thread; ``close()`` waits for no one: the descriptor is closed when the last call in flight
/// has returned, and never while one uses it.
public final class BPFMap: Sendable {
  /// The name in the program's source, or the kernel's, which is cut after 15 bytes.
  public let name: String

  private let number: CInt
  private let uses = UseCount()
  /// What is known from the object that the map came from, or from its creation.
  let origin: Origin?

  struct Origin: Sendable {
    var layout: Result<ValueLayout, BPFError>
    var allowedBackends = Set(BackendKind.allCases)
    /// Why the object does not put the map's values into user pages.
    var userPageObstacle: BackendChoice.Rejection?
  }

  /// Opens a map that is pinned on a BPF file system.
  ///
  /// Costs a system call or two; since Linux 5.19 it needs no capability, only the permission to
  /// open the file.
  ///
  /// - Parameters:
  ///   - path: Where it is pinned, such as "/sys/fs/bpf/request_tags".
  ///   - readOnly: Opens it for lookups only; needs only read permission.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if it is not a map
  ///   or not on a BPF file system, ``BPFError/Kind/permissionDenied``, or another system error.
  public init(pinnedAt path: FilePath, readOnly: Bool = false) throws(BPFError) {
    let attempt = "open the pinned map"
    let subject = "path '\(path)'"
    let number = try openPinned(path, readOnly: readOnly, attempt: attempt, on: subject)
    do throws(BPFError) {
      let info = try inspectMap(number, attempt: attempt, on: subject)
      self.number = number
      self.name = info.kernelName
      origin = nil
    } catch {
      closeNumber(number)
      throw error
    }
  }

  /// Takes over a descriptor, which the map then closes.
  ///
  /// If this throws, the descriptor still belongs to the caller.
  ///
  /// - Parameter descriptor: An open descriptor of a map.
  /// - Throws: ``BPFError/Kind/wrongState`` if it is closed, ``BPFError/Kind/wrongType`` if
  ///   it is not a map's.
  public init(adopting descriptor: FileDescriptor) throws(BPFError) {
    let info = try inspectMap(
      descriptor.rawValue,
      attempt: "adopt the map",
      on: "descriptor \(descriptor.rawValue)"
    )
    self.number = descriptor.rawValue
    self.name = info.kernelName
    origin = nil
  }

  /// Makes a descriptor of its own from one that stays the caller's.
  ///
  /// - Parameter descriptor: An open descriptor of a map.
  /// - Throws: ``BPFError/Kind/wrongState`` if it is closed, ``BPFError/Kind/wrongType`` if
  ///   it is not a map's, ``BPFError/Kind/outOfResources`` if there are no more descriptors.
  public init(duplicating descriptor: FileDescriptor) throws(BPFError) {
    let attempt = "duplicate the map's descriptor"
    let subject = "descriptor \(descriptor.rawValue)"
    let info = try inspectMap(descriptor.rawValue, attempt: attempt, on: subject)
    self.number = try duplicate(descriptor.rawValue, attempt: attempt, on: subject)
    self.name = info.kernelName
    origin = nil
  }

  /// Makes a descriptor of its own from one of an object's.
  init(
    duplicating number: CInt,
    name: String,
    origin: Origin
  ) throws(BPFError) {
    self.number = try duplicate(number, attempt: "open the map", on: "map '\(name)'")
    self.name = name
    self.origin = origin
  }

  /// Creates a map without type information.
  package init(
    creating type: BPFMapType,
    name: String,
    keySize: Int,
    valueSize: Int,
    maxEntries: Int,
    flags: BPFMapFlags = []
  ) throws(BPFError) {
    let attempt = "create a map of type \(type)"
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
    self.number = try create(attempt: attempt, on: subject) {
      mms_map_create(type.rawValue, name, key, value, entries, flags.rawValue)
    }
    self.name = name
    origin = nil
  }

  /// Creates a task storage map whose value is `wordCount` words of 8 bytes, or is in a user page
  /// of as many.
  package init(
    creatingTaskStorage name: String,
    wordCount: Int,
    inUserPage: Bool = false,
    flags: BPFMapFlags = .noPreallocation
  ) throws(BPFError) {
    let attempt = "create a map of type \(BPFMapType.taskStorage) with flags \(flags)"
    let subject = "map '\(name)'"
    guard wordCount > 0, wordCount < 1 << 28 else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: subject,
        advice: "a size is out of range"
      )
    }
    self.number = try create(attempt: attempt, on: subject) {
      mms_task_storage_create(name, UInt32(wordCount), inUserPage, flags.rawValue)
    }
    self.name = name
    let words = CompositeLayout.Member(
      name: "words",
      offset: 0,
      type: .array(of: .integer(size: 8, signed: false), count: wordCount)
    )
    origin = Origin(
      layout: .success(
        ValueLayout(
          name: "value",
          type: .structure(
            CompositeLayout(name: "value", size: wordCount * 8, members: [words])
          ),
          isInUserPage: inUserPage
        )
      )
    )
  }

  deinit {
    if uses.close() { closeNumber(number) }
  }

  /// Closes the descriptor, after the calls that other threads are in at the moment.
  ///
  /// Closing again does nothing; any other call after it throws
  /// ``BPFError/Kind/wrongState``.
  public func close() {
    if uses.close() { closeNumber(number) }
  }

  /// Lends the map's descriptor to `body`, and does not close it before `body` has returned.
  ///
  /// - Parameter body: Uses the descriptor, and does not close or keep it.
  /// - Returns: What `body` returned.
  /// - Throws: What `body` threw, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func withDescriptor<Result: ~Copyable>(
    _ body: (FileDescriptor) throws -> Result
  ) throws -> Result {
    let number = try beginUse(for: "use the descriptor")
    defer { endUse() }
    return try body(FileDescriptor(rawValue: number))
  }

  /// A descriptor of the same map that the caller owns and closes, such as to hand it to another
  /// process. It is closed on `exec` until the caller says otherwise.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` after ``close()``, or
  ///   ``BPFError/Kind/outOfResources``.
  public func duplicateDescriptor() throws(BPFError) -> FileDescriptor {
    let attempt = "duplicate the descriptor"
    return try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      FileDescriptor(
        rawValue: try duplicate(descriptor.rawValue, attempt: attempt, on: describedName)
      )
    }
  }

  /// What the kernel says about the map.
  ///
  /// Needs no rights beyond the descriptor. Costs some system calls; the memory, and
  /// whether the map is frozen, come from `/proc`.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` after ``close()``.
  public var info: BPFMapInfo {
    get throws(BPFError) {
      let attempt = "read the map's info"
      return try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
        let info = try inspectMap(descriptor.rawValue, attempt: attempt, on: describedName)
        let facts = descriptorFacts(descriptor.rawValue)
        return BPFMapInfo(
          type: BPFMapType(rawValue: info.type),
          id: info.id,
          name: info.kernelName,
          keySize: Int(info.key_size),
          valueSize: Int(info.value_size),
          maxEntries: Int(info.max_entries),
          flags: BPFMapFlags(rawValue: info.flags),
          btfID: info.btf_id,
          btfKeyTypeID: info.btf_key_type_id,
          btfValueTypeID: info.btf_value_type_id,
          isWritable: mms_descriptor_is_writable(descriptor.rawValue) == 1
            && facts["frozen:"] != 1,
          memory: facts["memlock:"]
        )
      }
    }
  }

  /// What a value of the map is.
  ///
  /// A map that came from an object knows it from there. For others the kernel is asked, which
  /// answers only a process with CAP_SYS_ADMIN.
  ///
  /// - Throws: ``BPFError/Kind/layoutUnavailable`` if the map has no type information, or this
  ///   process may not read it; ``BPFError/Kind/wrongState`` after ``close()``.
  public func valueLayout() throws(BPFError) -> ValueLayout {
    if let origin { return try origin.layout.get() }
    let attempt = "read the value layout"
    let info = try info
    guard info.btfID != 0, info.btfValueTypeID != 0 else {
      throw BPFError(
        .layoutUnavailable,
        attempt: attempt,
        on: describedName,
        advice: "the map was created without type information; declare its value with "
          + "__type(value, struct …), compile with -g and load it through libbpf"
      )
    }
    let types = try TypeInformation(
      kernelID: info.btfID,
      attempt: attempt,
      on: describedName
    )
    return try types.valueLayout(ofType: info.btfValueTypeID, size: info.valueSize)
  }

  /// Lends the descriptor for a call; it is not closed before the call ends.
  func withDescriptor<Result: ~Copyable>(
    for attempt: String,
    _ body: (FileDescriptor) throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    let number = try beginUse(for: attempt)
    defer { endUse() }
    return try body(FileDescriptor(rawValue: number))
  }

  /// Keeps the descriptor open until ``endUse()``.
  func beginUse(for attempt: String) throws(BPFError) -> CInt {
    guard uses.begin() else {
      endUse()
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: describedName,
        advice: "the map is closed; open it again"
      )
    }
    return number
  }

  func endUse() {
    if uses.end() { closeNumber(number) }
  }

  /// How errors name this map.
  package var describedName: String {
    name.isEmpty ? "map without a name" : "map '\(name)'"
  }
}

extension mms_map_info {
  fileprivate var kernelName: String {
    withUnsafeBytes(of: name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }
}

/// Checks that the descriptor is open and a map's.
func inspectMap(
  _ number: CInt,
  attempt: String,
  on subject: String
) throws(BPFError) -> mms_map_info {
  let mode = mms_descriptor_is_writable(number)
  guard mode >= 0 else { throw BPFError(code: mode, attempt: attempt, on: subject) }
  let kind = withUnsafeTemporaryAllocation(of: CChar.self, capacity: 256) { text in
    guard let start = text.baseAddress, mms_descriptor_kind(number, start, text.count) == 0 else {
      return ""
    }
    return String(cString: start)
  }
  // Without /proc there is no telling, and the call below would take a program for a map; the
  // map's type and sizes are checked by whoever uses them.
  guard kind.isEmpty || kind == "anon_inode:bpf-map" else {
    throw BPFError(
      .wrongType,
      attempt: attempt,
      on: subject,
      advice: "it is \(describeKind(kind)), not a map"
    )
  }
  var info = mms_map_info()
  let code = mms_map_info(number, &info)
  guard code == 0 else {
    throw BPFError(
      code == -Errno.invalidArgument.rawValue ? .wrongType : nil,
      code: code,
      attempt: attempt,
      on: subject
    )
  }
  return info
}

private func describeKind(_ kind: String) -> String {
  switch kind {
  case "anon_inode:bpf-prog": "a BPF program"
  case "anon_inode:bpf_link", "anon_inode:bpf-link": "a BPF link"
  case "anon_inode:btf": "BPF type information"
  default: "'\(kind)'"
  }
}

func duplicate(_ number: CInt, attempt: String, on subject: String) throws(BPFError) -> CInt {
  let copy = mms_duplicate(number)
  guard copy >= 0 else { throw BPFError(code: copy, attempt: attempt, on: subject) }
  return copy
}

func closeNumber(_ number: CInt) {
  // Linux has released the number whatever close() returns.
  try? FileDescriptor(rawValue: number).close()
}

private func create(
  attempt: String,
  on subject: String,
  _ body: () -> CInt
) throws(BPFError) -> CInt {
  var warnings = ""
  let number = capturingWarnings(&warnings, body)
  guard number >= 0 else {
    throw BPFError(code: number, attempt: attempt, on: subject, details: warnings)
  }
  return number
}

/// What the descriptor's file in `/proc` says, by its name there; empty if it cannot be read.
private func descriptorFacts(_ number: CInt) -> [Substring: Int] {
  guard
    let file = try? FileDescriptor.open(
      "/proc/self/fdinfo/\(number)",
      .readOnly,
      options: .closeOnExec
    )
  else { return [:] }
  defer { try? file.close() }
  return withUnsafeTemporaryAllocation(byteCount: 4096, alignment: 1) { buffer in
    guard let count = try? file.read(into: buffer) else { return [:] }
    var facts: [Substring: Int] = [:]
    for line in String(decoding: buffer.prefix(count), as: UTF8.self).split(separator: "\n") {
      let words = line.split(whereSeparator: \.isWhitespace)
      if words.count == 2, let value = Int(words[1]) { facts[words[0]] = value }
    }
    return facts
  }
}
