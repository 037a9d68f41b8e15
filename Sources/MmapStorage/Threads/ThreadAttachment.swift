internal import CLibBPFShim

/// One thread's attachment to one storage.
final class ThreadAttachment: @unchecked Sendable {
  /// What a view of the thread looks at.
  enum Content {
    case direct(UnsafeMutableRawPointer)
    case copied(CopiedValue)
  }

  let attachment: Attachment
  let content: Content
  private let backend: any StorageBackend

  /// The storage was removed from the map; the thread renews the attachment at its next touch.
  /// Guarded by the registry's lock.
  var isStale = false

  init(_ attachment: Attachment, backend: any StorageBackend, fields: [Range<Int>]) {
    self.attachment = attachment
    self.backend = backend
    content =
      switch attachment {
      case .direct(let address, _): .direct(address)
      case .copying: .copied(CopiedValue(backend: backend, fields: fields))
      }
  }

  func detach(because reason: DetachReason) { backend.detach(attachment, because: reason) }

  /// Makes the thread's slot lead here: to the bytes themselves, or under the odd key to the copy.
  func fill(_ slot: UnsafeMutablePointer<mms_slot>, key: UInt64) {
    switch content {
    case .direct(let address): mms_slot_fill(slot, key, address)
    case .copied(let value):
      mms_slot_fill(slot, key | 1, Unmanaged.passUnretained(value).toOpaque())
    }
  }
}
