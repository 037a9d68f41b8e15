// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
internal import LibBPF
internal import SystemPackage

/// The programs of calling-task.bpf.c, loaded for one map: each reads or writes the value of the
/// thread that runs it, with one system call and no descriptor of the thread.
///
/// All backends of the process over the same map share them, also those that are created without the
/// right to load programs; they take three descriptors. In the
/// child of a `fork` they are there as well.
final class CallingTaskPrograms: Sendable {
  private let valueSize: Int
  private let loading: BPFProgram
  private let storing: BPFProgram
  private let deleting: BPFProgram

  private init(_ map: BPFMap, valueSize: Int) throws(BPFError) {
    let object = try BPFObject.open(.callingTask)
    defer { object.close() }
    try object.reuse(map, as: "values")
    try object.setGlobal("value_size", to: UInt32(valueSize))
    try object.load()
    loading = try object.program("load_value")
    storing = try object.program("store_value")
    deleting = try object.program("delete_value")
    self.valueSize = valueSize
  }

  // MARK: Loading, once for a map

  // Counted by hand: a weak reference would make each call count references the slow way.
  private struct Loaded {
    var programs: CallingTaskPrograms
    var users: Int
  }

  private static let lock = ForkSafeLock(rank: .programs)
  private nonisolated(unsafe) static var byMap: [UInt32: Loaded] = [:]
  /// Returns the programs for a map. The first use loads them, which takes some milliseconds and the
  /// right to load programs. Each call is balanced by one of ``release(map:)``.
  static func acquire(for map: BPFMap, _ info: BPFMapInfo) throws(BPFError) -> CallingTaskPrograms {
    return try lock.withLock { () throws(BPFError) in
      if let programs = byMap[info.id]?.programs {
        byMap[info.id]?.users += 1
        return programs
      }
      let programs = try CallingTaskPrograms(map, valueSize: info.valueSize)
      byMap[info.id] = Loaded(programs: programs, users: 1)
      return programs
    }
  }

  /// Ends one use of the programs for the map with this id. The last one closes them.
  static func release(map id: UInt32) {
    lock.withLock {
      byMap[id]?.users -= 1
      if byMap[id]?.users == 0 { byMap[id] = nil }
    }
  }

  // MARK: Running them

  /// As `struct piece`: offset, four, two and one last bytes, words.
  private static let header = 16
  private static let pieceSize = 126 * 8

  /// Copies the value out, each field whole. `.noSuchFileOrDirectory` if the thread has none.
  func load(into value: UnsafeMutableRawPointer) -> Errno? {
    let words = valueSize & -8
    let length = min(words, Self.pieceSize)
    return withUnsafeTemporaryAllocation(
      byteCount: Self.header + Self.pieceSize,
      alignment: 8
    ) { piece in
      guard let piece = piece.baseAddress else { return .noMemory }
      // What is not filled goes to the kernel and comes back, and nobody looks at it.
      piece.initializeMemory(as: UInt8.self, repeating: 0, count: Self.header)
      var offset = 0
      while true {
        piece.storeBytes(of: UInt64(offset), as: UInt64.self)
        if let errno = run(loading, piece, Self.header + length) { return errno }
        (value + offset).copyMemory(from: piece + Self.header, byteCount: length)
        if offset + length >= words { break }
        offset = min(offset + length, words - length)
      }
      var last = words
      for (size, at) in [(4, 8), (2, 12), (1, 14)] where valueSize & size != 0 {
        (value + last).copyMemory(from: piece + at, byteCount: size)
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

  /// How many changes a context has room for. The others follow it in memory.
  private static let changesInContext = 4

  /// Writes those ranges of `bytes` into the value, in place and each field whole; creates the value
  /// if there is none.
  func store(_ ranges: [Range<Int>], of bytes: UnsafeRawBufferPointer) -> Errno? {
    var most = Self.changesInContext
    for range in ranges { most += range.count }
    let stride = MemoryLayout<Change>.stride
    // As `struct changes`, whose address and count take as much as a change.
    return withUnsafeTemporaryAllocation(byteCount: (1 + most) * stride, alignment: 8) { context in
      guard let context = context.baseAddress else { return .noMemory }
      var next = context + stride
      for range in ranges {
        var at = range.lowerBound
        while at < range.upperBound {
          let width = widestAccess(at, range.upperBound - at)
          var change = Change(offset: UInt32(at), width: UInt32(width), bits: 0)
          withUnsafeMutableBytes(of: &change.bits) {
            $0.copyMemory(from: UnsafeRawBufferPointer(rebasing: bytes[at..<at + width]))
          }
          next.storeBytes(of: change, as: Change.self)
          next += stride
          at += width
        }
      }
      let others = context + (1 + Self.changesInContext) * stride
      // What is not filled goes to the kernel and comes back, and nobody looks at it.
      context.storeBytes(of: UInt64(UInt(bitPattern: others)), as: UInt64.self)
      context.storeBytes(
        of: UInt64((next - context) / stride - 1),
        toByteOffset: 8,
        as: UInt64.self
      )
      return run(storing, context, others - context)
    }
  }

  /// Deletes the value. `.noSuchFileOrDirectory` if there is none.
  func delete() -> Errno? { run(deleting, nil, 0) }

  private func run(
    _ program: BPFProgram,
    _ context: UnsafeMutableRawPointer?,
    _ size: Int
  ) -> Errno? {
    var result: Int32 = 0
    // Each round lost a race against someone who created or removed a storage of this task, or found
    // another task in the middle of that on this processor, which perhaps only gets on with it when
    // this one sleeps.
    for round in 0..<1_000 {
      switch program.run(context, size: size) {
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
