// SPDX-License-Identifier: Apache-2.0
public import SystemPackage

/// A BPF object file: programs, maps and global variables.
///
/// An object has the phases of libbpf: *open* it, configure it, ``load()`` it into
/// the kernel, and ``attach(allowingNone:)`` its programs. An object may be used from any thread; calls on one
/// object are serialized.
///
/// **Lifetime.** Programs stay attached until ``detach()`` or ``close()`` is called, or until the object and
/// everything taken from it are deallocated, such as a ``BPFMap``, which keeps its object alive. They are also
/// detached when the process ends.
public final class BPFObject: Sendable {
  /// The object's name. libbpf uses it as a prefix of the names of internal maps.
  public let name: String
  /// The names of the programs, in the order of the file.
  public let programNames: [String]
  /// The names of the maps that the source declares, in the order of the file.
  public let mapNames: [String]

  /// The object's type information; `nil` if it was compiled without `-g`.
  package let btf: BTF?

  package let declaredMaps: [DeclaredMap]
  package let preparation: (any BPFObjectPreparation)?

  private let state: ForkSafeMutex<BPFObjectState>

  /// Opens the object that `BPFPlugin` embedded in the executable. Costs no system call.
  ///
  /// With `import MmapStorage`, use `BPFObject(_:allowing:)` instead. An object that was opened with `open` is loaded
  /// as libbpf does, without user pages, so storages of its maps use the slower `BackendKind.lookup`.
  ///
  /// - Parameter image: The compiled object.
  /// - Returns: The object, not loaded.
  /// - Throws: ``BPFError/Kind/invalidObject``.
  public static func open(_ image: BPFObjectImage) throws(BPFError) -> BPFObject {
    try open(bytes: image.bytes, name: image.name)
  }

  /// Opens the bytes of an object file. Costs no system call. With `import MmapStorage`, see ``open(_:)``.
  ///
  /// - Parameters:
  ///   - bytes: The output of `clang -target bpf -O2 -g -c`. The bytes are copied.
  ///   - name: The object's name.
  /// - Returns: The object, not loaded.
  /// - Throws: ``BPFError/Kind/invalidObject``. libbpf 1.1 may crash on a malicious file, so open only
  ///   trusted files.
  public static func open(bytes: [UInt8], name: String) throws(BPFError) -> BPFObject {
    try BPFObject(bytes: bytes, name: name, source: "object '\(name)'", preparation: nil)
  }

  /// Opens an object file. With `import MmapStorage`, see ``open(_:)``.
  ///
  /// - Parameter path: The file. Its name up to the first dot is the object's name.
  /// - Returns: The object, not loaded.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/permissionDenied``,
  ///   ``BPFError/Kind/invalidObject``, or another system error.
  public static func open(file path: FilePath) throws(BPFError) -> BPFObject {
    try BPFObject(file: path, preparation: nil)
  }

  package convenience init(
    file path: FilePath,
    preparation: (any BPFObjectPreparation)?
  ) throws(BPFError) {
    let bytes = try readObjectFile(path)
    let stem = (path.lastComponent?.string ?? "").prefix { $0 != "." }
    try self.init(
      bytes: bytes,
      name: stem.isEmpty ? "object" : String(stem),
      source: "file '\(path)'",
      preparation: preparation
    )
  }

  package init(
    bytes: [UInt8],
    name: String,
    source: String,
    preparation: (any BPFObjectPreparation)?
  ) throws(BPFError) {
    let object = try openObject(bytes, name: name, source: source)
    let maps = object.maps.map { DeclaredMap($0) }
    self.name = name
    self.programNames = object.programs.map(\.name)
    self.mapNames = maps.lazy.filter { !$0.isInternal }.map(\.name)
    self.declaredMaps = maps
    self.btf = object.types(subject: source)
    if let btf { leaveKernelStateUnmapped(in: object, btf) }
    self.preparation = preparation
    self.state = ForkSafeMutex(BPFObjectState(object), rank: .object)
  }

  deinit { close() }

  /// Detaches the programs and frees the object. Maps that were taken from it stay open.
  ///
  /// Does nothing if the object is closed. Every other call on a closed object throws
  /// ``BPFError/Kind/wrongState``.
  public func close() {
    withState { $0.close() }
  }

  func withState<Result, Failure: Error>(
    _ body: (inout BPFObjectState) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try state.withLock(body)
  }

  package var describedName: String { "object '\(name)'" }
}

/// Completes an object's configuration when ``BPFObject/load()`` is called.
package protocol BPFObjectPreparation: AnyObject, Sendable {
  /// Called by ``BPFObject/load()`` first, without a lock held; may change the object's settings.
  ///
  /// `pinned` are the maps that the object uses instead of new ones, by name. The preparation calls
  /// ``BPFObject/reuse(_:as:)`` for each.
  func willLoad(_ object: BPFObject, reusing pinned: [String: BPFMap]) throws(BPFError)

  /// Describes keys and values of a loaded map in one word, for processes that may not read the
  /// type information of the pinned map. Empty if there is nothing to compare.
  func description(ofValuesIn map: DeclaredMap, of object: BPFObject) throws(BPFError) -> String

  /// Returns how a pinned map differs from the declared one, or `nil` if it can be used instead.
  /// `description` is the result of ``description(ofValuesIn:of:)`` for the pinned map, if it is
  /// known.
  func difference(
    of pinned: BPFMap,
    describedAs description: String?,
    from declared: DeclaredMap,
    in object: BPFObject
  ) throws(BPFError) -> String?
}

/// The declaration of a map in an object file.
package struct DeclaredMap: Sendable {
  package let name: String
  package let type: BPFMapType
  package let keySize: Int
  package let valueSize: Int
  package internal(set) var maxEntries: Int
  package let keyTypeID: UInt32
  package let valueTypeID: UInt32
  package let isInternal: Bool

  /// Returns how a pinned map of the same value size differs; `nil` if it does not.
  package func difference(of pinned: BPFMapInfo, comparingValueSize: Bool = true) -> String? {
    func differs<T: Equatable>(_ what: String, _ pinned: T, _ declared: T) -> String? {
      pinned == declared
        ? nil : "map '\(name)': \(what) \(pinned) is pinned, the object declares \(declared)"
    }
    return differs("type", pinned.type, type) ?? differs("key size", pinned.keySize, keySize)
      ?? (comparingValueSize ? differs("value size", pinned.valueSize, valueSize) : nil)
      ?? (isSizedByKernel ? nil : differs("max_entries", pinned.maxEntries, maxEntries))
  }

  /// Whether the kernel or libbpf sets the number of entries.
  private var isSizedByKernel: Bool {
    type == .taskStorage || type == .perfEventArray && maxEntries == 0
  }

  init(_ map: LibBPFMap) {
    name = map.name
    type = map.type
    keySize = map.keySize
    valueSize = map.valueSize
    maxEntries = map.maxEntries
    keyTypeID = map.keyTypeID
    valueTypeID = map.valueTypeID
    isInternal = map.isInternal
  }
}

/// The state that an object's lock guards.
struct BPFObjectState {
  enum Phase: Hashable {
    case opened, loaded, failed, closed
  }

  private var object: LibBPFObject?
  var phase = Phase.opened
  /// By the program's name; several links if a program samples several processors.
  var links: [String: [LibBPFLink]] = [:]
  /// The pins of links that keep programs attached, by the program's name.
  var pinnedLinks: [String: FilePath] = [:]
  /// By the section's name.
  var mappedSections: [String: MemoryMapping] = [:]

  init(_ object: LibBPFObject) { self.object = object }

  /// Whether a link of this object, or one whose pin was not removed, keeps the program attached.
  func isAttached(_ program: String) -> Bool {
    links[program] != nil || pinnedLinks[program]?.isMissing == false
  }

  mutating func close() {
    links = [:]
    pinnedLinks = [:]
    mappedSections = [:]
    object = nil
    phase = .closed
  }

  /// The object, unless it is closed.
  func existing(for attempt: String, on subject: String) throws(BPFError) -> LibBPFObject {
    guard let object else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: subject,
        advice: "the object is closed; open it again"
      )
    }
    return object
  }

  /// The object, if it is not loaded yet.
  func opened(for attempt: String, on subject: String) throws(BPFError) -> LibBPFObject {
    let object = try existing(for: attempt, on: subject)
    guard phase == .opened else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: subject,
        advice: phase == .loaded
          ? "the object is already loaded; do this before load()"
          : "an earlier load() failed; open the object again"
      )
    }
    return object
  }

  /// The object, if it is loaded.
  func loaded(for attempt: String, on subject: String) throws(BPFError) -> LibBPFObject {
    let object = try existing(for: attempt, on: subject)
    guard phase == .loaded else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: subject,
        advice: phase == .opened
          ? "call load() first" : "an earlier load() failed; open the object again"
      )
    }
    return object
  }
}

private func openObject(
  _ bytes: [UInt8],
  name: String,
  source: String
) throws(BPFError) -> LibBPFObject {
  let attempt = "open the BPF object"
  guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]) else {
    throw BPFError(
      .invalidObject,
      attempt: attempt,
      on: source,
      advice: bytes.isEmpty
        ? "it is empty" : "it is not an ELF file; compile it with 'clang -target bpf -O2 -g -c'"
    )
  }
  var warnings = ""
  var code: CInt = 0
  let object = capturingWarnings(&warnings) { LibBPFObject(bytes, name: name, code: &code) }
  guard let object else {
    throw BPFError(
      .invalidObject,
      code: code,
      attempt: attempt,
      on: source,
      advice: advice(forOpening: warnings),
      details: warnings
    )
  }
  return object
}

/// libbpf 1.6 and later map each section of global variables that has one which is not static, and fail to load the
/// object if the kernel does not map the section.
private func leaveKernelStateUnmapped(in object: LibBPFObject, _ btf: BTF) {
  for id in 1..<max(1, btf.typeCount) {
    guard let section = try? btf.type(id), section.kind == .dataSection,
      section.name.hasPrefix("."), let map = object.map(named: section.name), map.isInternal,
      (try? btf.hasKernelState(inSection: section)) == true
    else { continue }
    _ = map.setFlags(map.flags.subtracting(.mmapable))
  }
}

private func advice(forOpening warnings: String) -> String {
  if warnings.contains("can't determine") {
    return
      "the type of a map's key or value is declared and not defined; include the header that defines it"
  }
  if ["map '", "prog '", "extern '", "'maps' section"].contains(where: warnings.contains) {
    return "libbpf rejects a declaration of the object; correct what its message below names"
  }
  return "it is truncated, or was not compiled with 'clang -target bpf -O2 -g -c' "
    + "(maps need the type information that -g writes)"
}

private func readObjectFile(_ path: FilePath) throws(BPFError) -> [UInt8] {
  let attempt = "read the object file"
  let limit = 256 << 20
  do {
    let file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .nonBlocking])
    return try file.closeAfter {
      let bytes = try file.readToEnd(chunk: 64 << 10, limit: limit)
      guard bytes.count > limit else { return bytes }
      throw BPFError(
        .invalidObject,
        attempt: attempt,
        on: "file '\(path)'",
        advice: "it has more than \(limit >> 20) MiB, so it is not a BPF object"
      )
    }
  } catch let error as BPFError {
    throw error
  } catch let errno as Errno {
    throw BPFError(
      errno: errno,
      attempt: attempt,
      on: "file '\(path)'",
      advice: errno == .permissionDenied ? "give this user read permission for the file" : nil
    )
  } catch {
    throw BPFError(.system, attempt: attempt, on: "file '\(path)'", advice: "\(error)")
  }
}
