// SPDX-License-Identifier: Apache-2.0
package import MmapStorage

/// Wraps a backend. Actions run after it has attached or loaded, and before it loads or detaches.
package final class InterceptingBackend: DirectBackend, CopyingBackend {
  private let base: any StorageBackend
  package let afterAttach = Box<@Sendable () -> Void>({})
  package let beforeDetach = Box<@Sendable () -> Void>({})
  package let beforeLoad = Box<@Sendable () -> Void>({})
  package let afterLoad = Box<@Sendable () throws(BPFError) -> Void>({})

  package init(_ base: any StorageBackend) { self.base = base }

  package var choice: BackendChoice { base.choice }
  package var mapName: String { base.mapName }
  package var mapID: UInt32 { base.mapID }
  package var valueSize: Int { base.valueSize }
  package var observer: (any AttachmentObserver)? { base.observer }
  package func valueLayout() throws(BPFError) -> ValueLayout { try base.valueLayout() }
  package func values() throws(BPFError) -> [TaskValue<[UInt8]>] { try base.values() }

  package var access: ValueAccess {
    switch base.access {
    case .direct: .direct(self)
    case .copying: .copying(self)
    }
  }

  // MARK: Direct

  package func attach(_ thread: ThreadRecord) throws(BPFError) -> UnsafeMutableRawPointer {
    let address = try direct.attach(thread)
    afterAttach.get()()
    return address
  }

  package func renew(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord
  ) throws(BPFError) {
    try direct.renew(address, of: thread)
  }

  package func mappingState(
    of address: UnsafeMutableRawPointer
  ) throws(BPFError) -> MappingState { try direct.mappingState(of: address) }

  package func detach(
    _ address: UnsafeMutableRawPointer,
    of thread: ThreadRecord,
    because reason: DetachReason
  ) {
    beforeDetach.get()()
    direct.detach(address, of: thread, because: reason)
  }

  private var direct: any DirectBackend {
    guard case .direct(let backend) = base.access else { preconditionFailure("it copies") }
    return backend
  }

  // MARK: Copying

  package func loadOwn(into bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Bool {
    beforeLoad.get()()
    let found = try copying.loadOwn(into: bytes)
    try afterLoad.get()()
    return found
  }

  package func storeOwn(
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try copying.storeOwn(ranges, of: bytes)
  }

  private var copying: any CopyingBackend {
    guard case .copying(let backend) = base.access else { preconditionFailure("it is direct") }
    return backend
  }

  // MARK: Any thread

  package func load(_ task: TaskReference, into bytes: UnsafeMutableRawBufferPointer)
    throws(BPFError) -> Bool
  {
    let found = try base.load(task, into: bytes)
    try afterLoad.get()()
    return found
  }

  package func store(
    _ task: TaskReference,
    _ ranges: [Range<Int>],
    of bytes: UnsafeRawBufferPointer
  ) throws(BPFError) {
    try base.store(task, ranges, of: bytes)
  }

  package func remove(_ task: TaskReference) throws(BPFError) -> Bool {
    try base.remove(task)
  }
}
