/// One thread's attachments, in the order of their storages' keys.
struct AttachmentList {
  private(set) var all: [ThreadAttachment] = []

  subscript(key: UInt64) -> ThreadAttachment? {
    index(of: key).map { all[$0] }
  }

  /// Marks the attachment to a storage, if there is one, as stale or not.
  mutating func setStale(_ isStale: Bool, _ key: UInt64) {
    if let index = index(of: key) { all[index].isStale = isStale }
  }

  /// Takes in an attachment to a storage that the thread is not attached to.
  mutating func insert(_ attachment: ThreadAttachment) {
    if all.isEmpty { all.reserveCapacity(4) }
    all.insert(attachment, at: firstIndex(from: attachment.key))
  }

  mutating func remove(_ key: UInt64) -> ThreadAttachment? {
    index(of: key).map { all.remove(at: $0) }
  }

  private func index(of key: UInt64) -> Int? {
    let index = firstIndex(from: key)
    return index < all.count && all[index].key == key ? index : nil
  }

  /// Where the first is whose key is not less: by halving, as there may be thousands.
  private func firstIndex(from key: UInt64) -> Int {
    var range = 0..<all.count
    while !range.isEmpty {
      let middle = range.lowerBound + range.count / 2
      range = all[middle].key < key ? middle + 1..<range.upperBound : range.lowerBound..<middle
    }
    return range.lowerBound
  }
}
