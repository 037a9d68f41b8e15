// SPDX-License-Identifier: Apache-2.0
import CWaitTime
import MmapStorage
import MmapStorageTesting
import Testing

/// The README and an article print the error for this type.
enum Wrong {
  struct Visit: MapValue {
    var calls: UInt64
    var lastRequestID: UInt32
    var requestID: UInt32
  }
}

struct Header: MapValue {
  var kind: UInt16
  var length: UInt16
}

struct Message: MapValue {
  var id: UInt64
  var header: Header
  var reserved: UInt32
  var samples: InlineArray<4, UInt32>
  var digest: (UInt64, UInt64)

  static var fields: Fields<Self> {
    Field("message_id", \.id)
    Field("header", \.header)
    Field.padding(\.reserved)
    Field("samples", \.samples)
    Field.opaque("digest", \.digest)
  }
}

/// The layout of the map that `Message` is for.
private struct MessageInC: MapValue {
  var message_id: UInt64
  var header: Header
  var unused: UInt32
  var samples: InlineArray<4, UInt32>
  var digest: InlineArray<16, CChar>

  static var fields: Fields<Self> {
    Field("message_id", \.message_id)
    Field("header", \.header)
    Field.padding(\.unused)
    Field("samples", \.samples)
    Field("digest", \.digest)
  }
}

/// Flags that the program sets.
struct RequestFlags: OptionSet, MapScalar {
  var rawValue: UInt32
  static let urgent = RequestFlags(rawValue: 1 << 0)
  static let cached = RequestFlags(rawValue: 1 << 1)
}

extension wait_reason: @retroactive MapScalar {}
extension wait_time: @retroactive MapValue {}

@Suite struct Layouts {
  @Test func wrongLayout() throws {
    let fake = try FakeBackend(map: "visits", of: BPFObject(.missingNullCheck))
    let error = try #require(throws: BPFError.self) {
      try TaskLocalStorage<Wrong.Visit>(backend: fake)
    }
    #expect(try Article("README.md").quotes("\(error)"), "\(error)")
    #expect(
      try Article("DocsSource/MmapStorage.docc/CheckingLayouts.md").quotes("\(error)"),
      "\(error)"
    )
  }

  @Test func message() throws {
    let fake = try FakeBackend(layoutOf: MessageInC.self)
    let messages = try TaskLocalStorage<Message>(backend: fake)
    try messages.withCurrent { $0.header.length = 3 }
    #expect(try messages.withCurrent { $0.header.length } == 3)
  }

  @Test func importedStructure() throws {
    let object = try BPFObject(.waitTimes)
    let layout = try object.layout(ofMap: "wait_times")
    try layout.check(wait_time.self)

    let fake = try FakeBackend(map: "wait_times", of: object)
    let waits = try TaskLocalStorage<wait_time>(backend: fake)
    try waits.withCurrent { wait in
      wait.total += 1_000
      wait.reason = WAIT_LOCK
      _ = wait[\.name, arrayOf: CChar.self].replaceString(with: "worker")
    }
    #expect(try waits.withCurrent { $0[\.name, arrayOf: CChar.self].copyString() } == "worker")
  }

  @Test func olderClient() throws {
    struct OldTag: MapValue {
      var requestID: UInt64
    }
    let fake = try FakeBackend(layoutOf: RequestTag.self)
    let tags = try TaskLocalStorage<OldTag>(backend: fake, policy: .compatible)
    try tags.withCurrent { $0.requestID = 1 }
    #expect(throws: BPFError.self) { try TaskLocalStorage<OldTag>(backend: fake) }
  }
}
