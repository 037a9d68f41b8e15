// SPDX-License-Identifier: Apache-2.0
internal import LibBPF
internal import SystemPackage

/// What backends use to read all values of their map, and to check a thread's page. Programs are loaded
/// at first use.
final class InspectedMap: Sendable {
  private static let lock = ForkSafeLock(rank: .programs)

  private let handle: MapHandle
  private let layout: ValueLayout
  /// Guarded by `lock`.
  private nonisolated(unsafe) var reader: TaskStorageReader?
  private nonisolated(unsafe) var comparison: BPFProgram?

  init(_ handle: MapHandle, layout: ValueLayout) {
    self.handle = handle
    self.layout = layout
  }

  func values() throws(BPFError) -> [UntypedTaskValue] {
    let reader = try Self.lock.withLock { () throws(BPFError) in
      if let loaded = self.reader { return loaded }
      let new = try TaskStorageReader(map: handle.duplicate(), layout: layout)
      self.reader = new
      return new
    }
    return try reader.values()
  }

  /// Uses this program instead of loading one.
  func adopt(comparison program: BPFProgram) {
    Self.lock.withLock { comparison = program }
  }

  /// Compares the calling thread's user page with the memory at an address.
  func mappingState(of address: UnsafeMutableRawPointer) throws(BPFError) -> MappingState {
    let attempt = "verify the calling thread's page"
    let program = try Self.lock.withLock { () throws(BPFError) in
      if let loaded = comparison { return loaded }
      let name = "compare_page"
      let object = try TaskStorageReader.loaded(
        name,
        for: handle.duplicate(),
        valueSize: layout.type.size
      )
      defer { object.close() }
      let new = try object.program(name)
      comparison = new
      return new
    }
    // Another thread may change both pages between two reads of one.
    for _ in 0..<3 {
      var context = UInt64(UInt(bitPattern: address))
      let result = program.run(&context, size: MemoryLayout.size(ofValue: context))
      switch result {
      case .success(0): return .own
      case .success(1): continue
      case .success(-Errno.noSuchFileOrDirectory.rawValue): return .removed
      case .success(let code):
        throw BPFError(code: code, attempt: attempt, on: "map '\(handle.name)'")
      case .failure(let errno):
        throw BPFError(errno: errno, attempt: attempt, on: "map '\(handle.name)'")
      }
    }
    return .foreign
  }
}
