// SPDX-License-Identifier: Apache-2.0
import MmapStorage
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

@Suite struct Failures {
  @Test func nothingIsPinnedThere() throws {
    #expect(try openTags() == nil)
    #expect(throws: BPFError.self) { try openTagsUnprivileged() }
  }
}
