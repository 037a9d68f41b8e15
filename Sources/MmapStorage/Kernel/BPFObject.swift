import CLibBPFShim
import Synchronization
public import SystemPackage

/// A compiled BPF object: its maps, globals and programs, from opening to closing.
///
/// The order is: open, settings (``setGlobal(_:to:)``, ``setMapFlags(_:of:)``, …), ``load()``,
/// ``attach()``. A call in the wrong order throws ``BPFError/Kind/wrongState`` and changes
/// nothing.
///
/// An object may be used from any thread; its calls run one at a time behind a lock. The maps that
/// it hands out have descriptors of their own and outlive it. Closing detaches its programs.
///
/// Open only files that you would run: libbpf 1.1 notices one that is cut short or is not ELF, but
/// may crash on one that someone damaged on purpose.
public final class BPFObject: Sendable {
  /// The object's name, which also begins the kernel's names of its internal maps.
  public let name: String

  /// The names of the programs, in order of declaration.
  public let programNames: [String]

  /// The names of the declared maps, in order of declaration; without those that hold globals.
  public let mapNames: [String]

  let state: Mutex<BPFObjectState>

  /// The backends that the object's storages may use.
  let allowedBackends: Set<BackendKind>

  let userPages: UserPageMaps

  /// Opens an object file.
  ///
  /// Costs a read of the file and parsing it, and needs no rights. Where programs use `TASK_STORAGE`
  /// of mmap_storage.bpf.h, the kernel is asked, once a process, what it can do.
  ///
  /// - Parameters:
  ///   - path: The file, as `clang -target bpf -O2 -g -c` writes it.
  ///   - backends: Those that the object's storages may use.
  /// - Throws: ``BPFError/Kind/notFound`` or another system error if the file cannot be read,
  ///   ``BPFError/Kind/invalidObject`` if libbpf cannot open what is in it.
  public convenience init(
    contentsOf path: FilePath,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    let bytes = try readObjectFile(path)
    let file = path.lastComponent?.string ?? ""
    let stem = file.prefix { $0 != "." }
    try self.init(
      bytes: bytes,
      name: stem.isEmpty ? "object" : String(stem),
      from: "file '\(path)'",
      allowing: backends
    )
  }

  /// Opens an object from the bytes of its file.
  ///
  /// - Parameters:
  ///   - bytes: The ELF file. They are not needed after the call.
  ///   - name: The object's name.
  ///   - backends: Those that the object's storages may use.
  /// - Throws: ``BPFError/Kind/invalidObject`` if libbpf cannot open the bytes.
  public convenience init(
    bytes: [UInt8],
    name: String,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(bytes: bytes, name: name, from: "object '\(name)'", allowing: backends)
  }

  /// Opens an object that the build plugin put into the program.
  ///
  /// With `TASK_STORAGE` of mmap_storage.bpf.h, the best backend is chosen here: the threads map their
  /// values where the kernel has `BPF_F_MMAPABLE` for task storage, else they share pages of theirs
  /// where it has `__uptr`, else the values are copied.
  ///
  /// - Parameters:
  ///   - image: The object's bytes and name.
  ///   - backends: Those that the object's storages may use; to force one, give that alone.
  /// - Throws: ``BPFError/Kind/invalidObject`` if libbpf cannot open the bytes.
  public convenience init(
    _ image: BPFObjectImage,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws(BPFError) {
    try self.init(bytes: image.bytes, name: image.name, allowing: backends)
  }

  private init(
    bytes: [UInt8],
    name: String,
    from source: String,
    allowing backends: Set<BackendKind>
  ) throws(BPFError) {
    var bytes = bytes
    let takesUserPages = takeUserPages(in: &bytes, allowing: backends)
    let pointer = try openObject(bytes, name: name, from: source)
    allowedBackends = backends
    userPages = UserPageMaps(in: pointer, inUse: takesUserPages)
    var programs: [String] = []
    var program = mms_object_next_program(pointer, nil)
    while let current = program {
      programs.append(String(cString: mms_program_name(current)))
      program = mms_object_next_program(pointer, current)
    }
    var maps: [String] = []
    var map = mms_object_next_map(pointer, nil)
    while let current = map {
      let name = String(cString: mms_map_name(current))
      if !mms_map_is_internal(current), !userPages.isCounterpart(name) { maps.append(name) }
      map = mms_object_next_map(pointer, current)
    }
    self.name = name
    self.programNames = programs
    self.mapNames = maps
    self.state = Mutex(BPFObjectState(pointer: pointer))
  }

  deinit {
    close()
  }

  /// Detaches the object's programs and releases everything it holds.
  ///
  /// Maps that were taken from it stay usable. Closing again does nothing; any other call after it
  /// throws ``BPFError/Kind/wrongState``.
  public func close() {
    state.withLock { $0.close() }
  }

  /// Creates the maps and hands the programs to the kernel.
  ///
  /// A task storage map that asks for ``BPFMapFlags/mappable`` is created without it on a kernel that
  /// does not have it, or where ``BackendKind/mapped`` is not allowed; ``TaskLocalStorage/backend``
  /// then says so.
  ///
  /// Costs the verification of every program: milliseconds to seconds. A failed load leaves nothing
  /// in the kernel, and the object can only be closed.
  ///
  /// - Throws: ``BPFError/Kind/loadFailed`` with the verifier's log in
  ///   ``BPFError/details``, ``BPFError/Kind/permissionDenied`` without the rights,
  ///   ``BPFError/Kind/outOfResources`` without descriptors or memory, or
  ///   ``BPFError/Kind/wrongState`` if it was tried before.
  public func load() throws(BPFError) {
    let attempt = "load the object"
    try state.withLock { (state) throws(BPFError) in
      let pointer = try state.opened(for: attempt, on: describedName)
      dropFlagsThatTheKernelLacks(in: pointer)
      try checkForUserPages(in: pointer, attempt: attempt)
      let log = VerifierLog(for: pointer)
      var warnings = ""
      let code = capturingWarnings(&warnings) { mms_object_load(pointer) }
      guard code != 0 else {
        state.phase = .loaded
        return
      }
      state.phase = .failed
      throw loadError(code, attempt: attempt, warnings: warnings, log: log.text)
    }
  }

  private func dropFlagsThatTheKernelLacks(in pointer: OpaquePointer) {
    var next = mms_object_next_map(pointer, nil)
    while let map = next {
      next = mms_object_next_map(pointer, map)
      let flags = BPFMapFlags(rawValue: mms_map_flags(map))
      guard BPFMapType(rawValue: mms_map_type(map)) == .taskStorage, flags.contains(.mappable)
      else { continue }
      if allowedBackends.contains(.mapped) {
        guard case .missing = KernelFeature.mappableTaskStorage else { continue }
      }
      _ = mms_map_set_flags(map, flags.subtracting(.mappable).rawValue)
    }
  }

  /// Kernels without user pages take their addresses for numbers, and refuse the programs for reasons
  /// that say nothing of it.
  private func checkForUserPages(
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) {
    guard case .missing = KernelFeature.userPages else { return }
    for name in mapNames {
      guard let map = mms_object_find_map(pointer, userPages.created(name)),
        mms_map_autocreate(map),
        case .success(let layout) = layout(of: map, named: name, in: pointer), layout.isInUserPage
      else { continue }
      throw BPFError(
        .unsupported,
        attempt: attempt,
        on: "map '\(name)' of \(describedName)",
        advice: "it keeps its values in user pages (__uptr), which need Linux 6.13; "
          + "declare it with TASK_STORAGE, which has other ways as well"
      )
    }
  }

  private func loadError(
    _ code: CInt,
    attempt: String,
    warnings: String,
    log: String
  ) -> BPFError {
    let refused = warnings.split(whereSeparator: \.isNewline)
      .first { $0.contains("load failed") && $0.contains("prog '") }?
      .split(separator: "'", omittingEmptySubsequences: false).dropFirst().first
    let general = BPFError(code: code, attempt: attempt, on: describedName)
    let isGeneral =
      code == -Errno.notPermitted.rawValue
      || log.isEmpty && [.permissionDenied, .outOfResources].contains(general.kind)
    return BPFError(
      isGeneral ? general.kind : .loadFailed,
      code: code,
      attempt: attempt,
      on: refused.map { "program '\($0)' of \(describedName)" } ?? describedName,
      advice: isGeneral
        ? general.advice
        : log.isEmpty
          ? "libbpf's messages say at which step"
          : "the kernel's verifier refused the program; the end of its log says where",
      details: [warnings, log].filter { !$0.isEmpty }.joined(separator: "\n")
    )
  }

  /// How errors name this object.
  var describedName: String { "object '\(name)'" }
}

/// What a ``BPFObject`` guards with its lock.
struct BPFObjectState {
  enum Phase: Hashable {
    case opened, loaded, failed, closed
  }

  private(set) var pointer: OpaquePointer?
  var phase = Phase.opened
  var links: [Int: OpaquePointer] = [:]
  var nextLink = 0
  var mappedSections: [String: UnsafeMutableRawBufferPointer] = [:]

  init(pointer: OpaquePointer) { self.pointer = pointer }

  mutating func close() {
    for link in links.values { mms_link_destroy(link) }
    links = [:]
    for section in mappedSections.values {
      if let start = section.baseAddress { mms_unmap(start, section.count) }
    }
    mappedSections = [:]
    if let pointer { mms_object_close(pointer) }
    pointer = nil
    phase = .closed
  }

  /// The object in whatever phase, as long as it is not closed.
  func existing(
    for attempt: String,
    on object: String
  ) throws(BPFError) -> OpaquePointer {
    guard let pointer else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: object,
        advice: "the object is closed; open it again"
      )
    }
    return pointer
  }

  /// The object before loading.
  func opened(for attempt: String, on object: String) throws(BPFError) -> OpaquePointer {
    let pointer = try existing(for: attempt, on: object)
    guard phase == .opened else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: object,
        advice: phase == .loaded
          ? "it is loaded already; do this between opening and load()"
          : "a load was tried and failed; open the object again"
      )
    }
    return pointer
  }

  /// The object after loading.
  func loaded(for attempt: String, on object: String) throws(BPFError) -> OpaquePointer {
    let pointer = try existing(for: attempt, on: object)
    guard phase == .loaded else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: object,
        advice: phase == .opened ? "call load() first" : "loading it failed; open it again"
      )
    }
    return pointer
  }
}

/// Memory for the verifier's log of whichever program fails; touched only as far as the log goes.
private struct VerifierLog: ~Copyable {
  /// What kernels before 5.2 take at most.
  static let capacity = 16 << 20
  /// The end of a log says why; the rest is every instruction on the way there.
  static let kept = 64 << 10

  private let start: UnsafeMutablePointer<CChar>?

  init(for object: OpaquePointer) {
    var memory: UnsafeMutableRawPointer?
    guard mms_map_scratch(Self.capacity, &memory) == 0, let memory else {
      start = nil  // libbpf allocates a log itself then, and prints it
      return
    }
    let log = memory.assumingMemoryBound(to: CChar.self)
    start = log
    var program = mms_object_next_program(object, nil)
    while let current = program {
      _ = mms_program_set_log(current, log, Self.capacity)
      program = mms_object_next_program(object, current)
    }
  }

  deinit {
    if let start { mms_unmap(start, Self.capacity) }
  }

  var text: String {
    guard let start else { return "" }
    let length = UnsafeBufferPointer(start: start, count: Self.capacity).firstIndex(of: 0) ?? 0
    let omitted = max(0, length - Self.kept)
    let kept = UnsafeRawBufferPointer(start: start + omitted, count: length - omitted)
    var text = String(decoding: kept, as: UTF8.self)
    while text.last?.isNewline == true { text.removeLast() }
    return omitted > 0 ? "(\(omitted) bytes of log left out)\n" + text : text
  }
}

private func openObject(
  _ bytes: [UInt8],
  name: String,
  from source: String
) throws(BPFError) -> OpaquePointer {
  let attempt = "open the BPF object"
  guard bytes.starts(with: [0x7f, 0x45, 0x4c, 0x46]) else {
    throw BPFError(
      .invalidObject,
      attempt: attempt,
      on: source,
      advice: bytes.isEmpty
        ? "it is empty" : "it is not an ELF file; give what 'clang -target bpf -O2 -g -c' wrote"
    )
  }
  var copy = bytes
  var pointer: OpaquePointer?
  var warnings = ""
  let code = copy.withUnsafeMutableBytes { bytes in
    guard let start = bytes.baseAddress else { return CInt(0) }
    return capturingWarnings(&warnings) { mms_object_open(start, bytes.count, name, &pointer) }
  }
  guard code == 0, let pointer else {
    throw BPFError(
      .invalidObject,
      code: code,
      attempt: attempt,
      on: source,
      advice: "it is cut short, or not what 'clang -target bpf -O2 -g -c' wrote "
        + "(-g gives the type information that maps need)",
      details: warnings
    )
  }
  return pointer
}

private func readObjectFile(_ path: FilePath) throws(BPFError) -> [UInt8] {
  let attempt = "read the object file"
  let limit = 256 << 20
  do {
    let file = try FileDescriptor.open(path, .readOnly, options: [.closeOnExec, .nonBlocking])
    return try file.closeAfter {
      var bytes: [UInt8] = []
      let chunk = UnsafeMutableRawBufferPointer.allocate(byteCount: 64 << 10, alignment: 16)
      defer { chunk.deallocate() }
      while bytes.count <= limit {
        let count = try file.read(into: chunk)
        if count == 0 { return bytes }
        bytes += chunk.prefix(count)
      }
      throw BPFError(
        .invalidObject,
        attempt: attempt,
        on: "file '\(path)'",
        advice: "it has more than \(limit >> 20) MiB; it cannot be a BPF object"
      )
    }
  } catch let error as BPFError {
    throw error
  } catch let errno as Errno {
    throw BPFError(
      errno: errno,
      attempt: attempt,
      on: "file '\(path)'",
      advice: errno == .permissionDenied ? "let this user read the file" : nil
    )
  } catch {
    throw BPFError(.system, attempt: attempt, on: "file '\(path)'", advice: "\(error)")
  }
}
