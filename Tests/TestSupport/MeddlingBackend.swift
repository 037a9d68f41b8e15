package import MmapStorage

/// Another backend, with something that happens right after it has attached or loaded.
package final class MeddlingBackend: StorageBackend {
  private let base: any StorageBackend
  package let afterAttach = Box<@Sendable () -> Void>({})
  package let afterLoad = Box<@Sendable () throws(BPFError) -> Void>({})

  package init(_ base: any StorageBackend) { self.base = base }

  package var choice: BackendChoice { base.choice }
  package var mapName: String { base.mapName }
  package var valueSize: Int { base.valueSize }
  package func valueLayout() throws(BPFError) -> ValueLayout { try base.valueLayout() }

  package func attach() throws(BPFError) -> Attachment {
    let attachment = try base.attach()
    afterAttach.get()()
    return attachment
  }

  package func renew(_ attachment: Attachment) throws(BPFError) { try base.renew(attachment) }

  package func detach(_ attachment: Attachment, because reason: DetachReason) {
    base.detach(attachment, because: reason)
  }

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
