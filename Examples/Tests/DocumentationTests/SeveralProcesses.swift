// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import SystemPackage

func pinRequests(in directory: FilePath) throws -> Requests {
  let loader = try Requests.load()
  try loader.object.pinSwiftTaskStorage("requests", in: directory)
  return loader
}

func openPinnedRequests(in directory: FilePath) async throws -> SwiftTaskStorage<Request> {
  let requests = try await SwiftTaskStorage<Request>(
    pinnedIn: directory,
    name: "requests",
    layout: BPFObject(.requests).layout(ofMap: "requests")
  )
  return requests
}
