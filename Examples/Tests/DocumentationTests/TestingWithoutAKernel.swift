// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import Testing

@Test func readsTheProgramsCount() throws {
  let fake = try FakeBackend(layoutOf: RequestTag.self)
  let tags = try TaskLocalStorage<RequestTag>(backend: fake)

  try tags.withCurrent { $0.requestID = 42 }
  fake.program(on: .current, as: RequestTag.self) { tag in
    if tag.requestID == 42 { tag.calls += 1 }
  }
  #expect(try tags.withCurrent { $0.calls } == 1)
}

struct Server {
  var tags: TaskLocalStorage<RequestTag>

  /// Serves a request even if its thread cannot be tagged.
  func serve(_ requestID: UInt64) -> Bool {
    do {
      try tags.withCurrent { $0.requestID = requestID }
      return true
    } catch {
      return false
    }
  }
}

@Suite struct ServerTests {
  @Test func tagsItsThread() throws {
    let fake = try FakeBackend(layoutOf: RequestTag.self)
    let server = try Server(tags: TaskLocalStorage(backend: fake))
    #expect(server.serve(7))
    let seen = fake.program(on: .current, as: RequestTag.self, create: false) { $0.requestID }
    #expect(seen == 7)
  }

  @Test func servesWithoutMemoryForATag() throws {
    var faults = FaultPlan()
    faults.fail(.attach, call: 1, with: .noMemory)
    let fake = try FakeBackend(layoutOf: RequestTag.self, faults: faults)
    let server = try Server(tags: TaskLocalStorage(backend: fake))
    #expect(server.serve(1) == false)
    #expect(server.serve(2))
    #expect(fake.calls.map(\.fault) == [.noMemory, nil])
  }

  @Test func survivesALostMap() throws {
    let fake = try FakeBackend(layoutOf: RequestTag.self, access: .copying)
    let server = try Server(tags: TaskLocalStorage(backend: fake))
    #expect(server.serve(1))
    fake.removeMap()
    #expect(server.serve(2) == false)
  }

  @Test func hasTheProgramsLayout() throws {
    let fake = try FakeBackend(map: "request_tags", of: BPFObject(.requestTags))
    let tags = try TaskLocalStorage<RequestTag>(backend: fake)
    #expect(tags.backend.kind == .fake)
  }
}
