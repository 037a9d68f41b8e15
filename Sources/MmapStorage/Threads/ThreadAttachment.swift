internal import CLibBPFShim

/// One thread's attachment to one storage.
struct ThreadAttachment {
  /// What a view of the thread looks at.
  enum Content {
    case direct(UnsafeMutableRawPointer, owner: AnyObject?)
    /// The same, but the storage was removed from the map; the thread renews it at its next touch.
    case stale(UnsafeMutableRawPointer, owner: AnyObject?)
    case copied(CopiedValue)
  }

  /// The storage's.
  let key: UInt64
  private(set) var content: Content

  init(_ attachment: Attachment, key: UInt64, backend: any StorageBackend, fields: [Range<Int>]) {
    self.key = key
    content =
      switch attachment {
      case .direct(let address, let owner): .direct(address, owner: owner)
      case .copying: .copied(CopiedValue(backend: backend, fields: fields))
      }
  }

  /// What the backend made.
  var attachment: Attachment {
    switch content {
    case .direct(let address, let owner), .stale(let address, let owner):
      .direct(address, owner: owner)
    case .copied: .copying
    }
  }

  /// Changes nothing for a copy, which every view loads anew.
  var isStale: Bool {
    get { if case .stale = content { true } else { false } }
    set {
      switch content {
      case .direct(let address, let owner), .stale(let address, let owner):
        content = newValue ? .stale(address, owner: owner) : .direct(address, owner: owner)
      case .copied: break
      }
    }
  }

  /// Makes the thread's slot lead here: to the bytes themselves, or under the odd key to the copy.
  func fill(_ slot: UnsafeMutablePointer<mms_slot>) {
    switch content {
    case .direct(let address, _), .stale(let address, _): mms_slot_fill(slot, key, address)
    case .copied(let value):
      mms_slot_fill(slot, key | 1, Unmanaged.passUnretained(value).toOpaque())
    }
  }
}
