// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

// Invariant: buffers have the sizes that calling-task.bpf.c declares, and ranges are checked
// against the value.

/// The programs of calling-task.bpf.c, loaded for one map. Each reads or writes the value of the
/// thread that runs it, or of another thread, with one system call and without a pidfd.
///
/// All backends of the process over the same map share them, including backends that are created
/// without the right to load programs. They take three descriptors, and three more after the first
/// access to another thread if the kernel has the functions to find another thread
/// (`bpf_task_from_pid`, Linux 6.2). The child of a `fork` can use them.
final class CallingTaskPrograms: Sendable {
  private struct Programs {
    var load: BPFProgram
    var store: BPFProgram
    var delete: BPFProgram

    init(load: BPFProgram, store: BPFProgram, delete: BPFProgram) {
      self.load = load
      self.store = store
      self.delete = delete
    }

    init(_ object: BPFObject, suffix: String) throws(BPFError) {
      load = try object.program("load_value" + suffix).loaded()
      store = try object.program("store_value" + suffix).loaded()
      delete = try object.program("delete_value" + suffix).loaded()
    }
  }

  private let valueSize: Int
  private let own: Programs
  private let map: BPFMap

  /// The programs for other threads. Loaded at first use, because libbpf takes about 100 ms to find
  /// the kernel's functions.
  private enum Others {
    case notLoaded, unavailable
    case loaded(Programs)
  }

  private let others: ForkSafeMutex<Others>

  private init(_ map: BPFMap, valueSize: Int) throws(BPFError) {
    self.valueSize = valueSize
    self.map = map
    let object = try Self.loadedObject(map, valueSize, suffix: "")
    defer { object.close() }
    own = try Programs(object, suffix: "")
    others = ForkSafeMutex(.notLoaded, sharing: Self.lock)
  }

  /// Uses programs that a broker loaded, which do not include those for other threads.
  private init(_ map: BPFMap, valueSize: Int, adopting programs: [BPFProgram]) {
    self.valueSize = valueSize
    self.map = map
    own = Programs(load: programs[0], store: programs[1], delete: programs[2])
    others = ForkSafeMutex(.unavailable, sharing: Self.lock)
  }

  /// The programs for the calling thread, to pass to another process.
  var descriptorsForOthers: [BPFProgram] { [own.load, own.store, own.delete] }

  private func programsForOthers() -> Programs? {
    others.withLock { others in
      if case .notLoaded = others {
        do throws(BPFError) {
          let object = try Self.loadedObject(map, valueSize, suffix: "_of")
          defer { object.close() }
          others = .loaded(try Programs(object, suffix: "_of"))
        } catch {
          // Without descriptors or memory, the next call tries again.
          if error.kind != .outOfResources { others = .unavailable }
        }
      }
      return if case .loaded(let programs) = others { programs } else { nil }
    }
  }

  private static func loadedObject(
    _ map: BPFMap,
    _ valueSize: Int,
    suffix: String
  ) throws(BPFError) -> BPFObject {
    let object = try BPFObject.open(.callingTask)
    do throws(BPFError) {
      for name in object.programNames {
        try object.program(name).setAutoload(name.hasSuffix("_of") == !suffix.isEmpty)
      }
      try object.reuse(map, as: "values")
      try object.setGlobal("value_size", to: UInt32(valueSize))
      try object.load()
    } catch {
      object.close()
      throw error
    }
    return object
  }

  // MARK: Loading, once for a map

  // Counted by hand: with a weak reference, each call would use the slow path of reference
  // counting.
  private struct Loaded {
    var programs: CallingTaskPrograms
    var users: Int
  }

  private static let lock = ForkSafeLock(rank: .programs)
  private static let byMap = ForkSafeMutex<[UInt32: Loaded]>([:], sharing: lock)

  /// Returns the programs for a map. The first use loads them, which takes some milliseconds and the
  /// right to load programs. Each call is balanced by one of ``release(map:)``.
  static func acquire(for map: BPFMap, _ info: BPFMapInfo) throws(BPFError) -> CallingTaskPrograms {
    try byMap.withLock { (byMap) throws(BPFError) in
      if let programs = byMap[info.id]?.programs {
        byMap[info.id]?.users += 1
        return programs
      }
      let programs = try CallingTaskPrograms(map, valueSize: info.valueSize)
      byMap[info.id] = Loaded(programs: programs, users: 1)
      return programs
    }
  }

  /// Makes all storages over a map use these three programs, unless the map already has programs.
  /// Balance each call with one call of ``release(map:)``.
  static func adopt(_ programs: [BPFProgram], for map: BPFMap, _ info: BPFMapInfo) {
    byMap.withLock { byMap in
      if byMap[info.id] != nil {
        byMap[info.id]?.users += 1
      } else {
        let adopted = CallingTaskPrograms(map, valueSize: info.valueSize, adopting: programs)
        byMap[info.id] = Loaded(programs: adopted, users: 1)
      }
    }
  }

  /// Ends one use of the programs for the map with this id. The last one closes them.
  static func release(map id: UInt32) {
    byMap.withLock { byMap in
      byMap[id]?.users -= 1
      if byMap[id]?.users == 0 { byMap[id] = nil }
    }
  }

  // MARK: Running them

  /// The result of the programs if they cannot find a thread by its id, because this process is in
  /// a child pid namespace.
  static let cannotFindThreads = Errno.notSupportedOnSocket

  /// The size of the fields of `struct piece` before the words.
  private static let header = 16
  private static let pieceSize = 126 * 8

  /// Copies the value of a thread without tearing a field. `nil` is the calling thread.
  ///
  /// Returns `.noSuchFileOrDirectory` if the thread has no value. For another thread, also returns
  /// ``cannotFindThreads`` and `.noSuchProcess`.
  func load(_ thread: ThreadID? = nil, into value: UnsafeMutableRawPointer) -> Errno? {
    guard let program = program(\.load, for: thread) else { return Self.cannotFindThreads }
    let words = valueSize & -8
    let length = min(words, Self.pieceSize)
    return unsafe withUnsafeTemporaryAllocation(
      byteCount: Self.header + Self.pieceSize,
      alignment: 8
    ) { piece in
      guard let piece = piece.baseAddress else { return .noMemory }
      // The kernel copies the rest of the context in and out; it is not used.
      unsafe piece.initializeMemory(as: UInt8.self, repeating: 0, count: Self.header)
      unsafe piece.storeBytes(of: thread?.rawValue ?? 0, toByteOffset: 4, as: Int32.self)
      var offset = 0
      while true {
        unsafe piece.storeBytes(of: UInt32(offset), as: UInt32.self)
        if let errno = unsafe run(program, piece, Self.header + length) { return errno }
        unsafe (value + offset).copyMemory(from: piece + Self.header, byteCount: length)
        if offset + length >= words { break }
        offset = min(offset + length, words - length)
      }
      var last = words
      for (size, at) in [(4, 8), (2, 12), (1, 14)] where valueSize & size != 0 {
        unsafe (value + last).copyMemory(from: piece + at, byteCount: size)
        last += size
      }
      return nil
    }
  }

  /// As `struct change`.
  private struct Change {
    var offset: UInt32
    var width: UInt32
    var bits: UInt64
  }

  /// The number of changes in a context. Further changes follow it in memory.
  private static let changesInContext = 4

  /// Writes the ranges of `bytes` to the value of a thread, in place and without tearing a field.
  /// `nil` is the calling thread. Creates the value if there is none.
  ///
  /// Returns `.resourceTemporarilyUnavailable` if there is no memory for the value, or if other
  /// threads continually create and remove it. For another thread, also returns the errors of
  /// ``load(_:into:)``.
  func store(
    _ thread: ThreadID? = nil,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) -> Errno? {
    guard let program = program(\.store, for: thread) else { return Self.cannotFindThreads }
    var most = Self.changesInContext
    for range in ranges { most += range.count }
    let stride = MemoryLayout<Change>.stride
    // As `struct changes`. Its address and count have the size of one change.
    return unsafe withUnsafeTemporaryAllocation(byteCount: (1 + most) * stride, alignment: 8) {
      context in
      guard let context = context.baseAddress else { return .noMemory }
      var next = unsafe context + stride
      for range in ranges {
        var at = range.lowerBound
        while at < range.upperBound {
          let width = widestAccess(at, range.upperBound - at)
          var change = Change(offset: UInt32(at), width: UInt32(width), bits: 0)
          unsafe withUnsafeMutableBytes(of: &change.bits) {
            unsafe $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[at..<at + width]))
          }
          unsafe next.storeBytes(of: change, as: Change.self)
          unsafe next += stride
          at += width
        }
      }
      let others = unsafe context + (1 + Self.changesInContext) * stride
      // The kernel copies the rest of the context in and out; it is not used.
      unsafe context.storeBytes(of: UInt64(UInt(bitPattern: others)), as: UInt64.self)
      unsafe context.storeBytes(
        of: UInt32((next - context) / stride - 1),
        toByteOffset: 8,
        as: UInt32.self
      )
      unsafe context.storeBytes(of: thread?.rawValue ?? 0, toByteOffset: 12, as: Int32.self)
      return unsafe run(program, context, others - context)
    }
  }

  /// Deletes the value of a thread. `nil` is the calling thread. Returns `.noSuchFileOrDirectory`
  /// if there is none. For another thread, also returns the errors of ``load(_:into:)``.
  func delete(_ thread: ThreadID? = nil) -> Errno? {
    guard let program = program(\.delete, for: thread) else { return Self.cannotFindThreads }
    guard var id = thread?.rawValue else { return unsafe run(program, nil, 0) }
    return unsafe run(program, &id, MemoryLayout.size(ofValue: id))
  }

  private func program(_ which: KeyPath<Programs, BPFProgram>, for thread: ThreadID?) -> BPFProgram?
  {
    thread == nil ? own[keyPath: which] : programsForOthers()?[keyPath: which]
  }

  private func run(
    _ program: BPFProgram,
    _ context: UnsafeMutableRawPointer?,
    _ size: Int
  ) -> Errno? {
    var result: Int32 = 0
    // Each round lost a race against a thread that creates or removes a storage of this task, or
    // that was preempted on this processor while doing so, and may need this thread to sleep.
    for round in 0..<100 {
      switch unsafe program.run(context, size: size) {
      case .failure(let errno): return errno
      case .success(0): return nil
      case .success(let returned): result = returned
      }
      if result != -EAGAIN, result != -EBUSY { break }
      if round < 10 { sched_yield() } else { usleep(100) }
    }
    return Errno(rawValue: -result)
  }
}
