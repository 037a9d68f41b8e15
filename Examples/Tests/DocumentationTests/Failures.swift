// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import Testing

/// Opens the storage that the service pinned, if it runs.
private func openTags() throws(BPFError) -> TaskLocalStorage<RequestTag>? {
  do {
    return try TaskLocalStorage<RequestTag>(pinnedAt: "/sys/fs/bpf/request_tags")
  } catch {
    switch error.kind {
    case .notFound: return nil  // the service does not run
    case .permissionDenied: return nil  // this process may not open the map
    default: throw error
    }
  }
}

/// The storage, in a process that may not read the map's type information.
private func openTagsUnprivileged() throws(BPFError) -> TaskLocalStorage<RequestTag> {
  let map = try BPFMap(pinnedAt: "/sys/fs/bpf/request_tags")
  let layout = try BPFObject(.requestTags).layout(ofMap: "request_tags")
  return try TaskLocalStorage<RequestTag>(map: map, layout: layout)
}

private struct PriorityTooHigh: Error {}

private func check(_ priority: UInt32) throws(PriorityTooHigh) {
  if priority > 7 { throw PriorityTooHigh() }
}

@Suite struct Failures {
  @Test func closuresThatThrow() throws {
    let object = try BPFObject(.requestTags)
    func make() throws -> TaskLocalStorage<RequestTag> {
      try TaskLocalStorage(backend: FakeBackend(map: "request_tags", of: object))
    }
    let (tags, defaults) = (try make(), try make())
    for priority in [UInt32(7), 8] {
      try defaults.withCurrent { $0.priority = priority }
      func run() throws {
        try tags.withCurrent { (tag) throws(BPFError) in
          tag.priority = try defaults.withCurrent { $0.priority }
        }
        let checked = try tags.withCurrent { tag in
          Result { try check(tag.priority) }
        }
        try checked.get()
      }
      if priority == 7 { try run() } else { #expect(throws: PriorityTooHigh.self) { try run() } }
      #expect(try tags.withCurrent { $0.priority } == priority)
    }
  }

  @Test func nothingIsPinnedThere() throws {
    #expect(try openTags() == nil)
    #expect(throws: BPFError.self) { try openTagsUnprivileged() }
  }
}
