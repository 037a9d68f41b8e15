import CWaitTime
import MmapStorage
import MmapStorageTesting
import Testing

/// What the README prints the table for.
enum Wrong {
  struct Visit: MapValue {
    var calls: UInt64
    var lastRequestID: UInt32
    var requestID: UInt32
  }
}

struct Header {
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

/// Bits that the program sets.
struct RequestFlags: OptionSet, MapScalar {
  var rawValue: UInt32
  static let urgent = RequestFlags(rawValue: 1 << 0)
  static let cached = RequestFlags(rawValue: 1 << 1)
}

extension wait_reason: @retroactive MapScalar {}
extension wait_time: @retroactive MapValue {}

@Suite struct Layouts {
  @Test func message() throws {
    let message = ValueLayout(
      name: "message",
      type: .structure(
        CompositeLayout(
          name: "message",
          size: 48,
          members: [
            .init(name: "message_id", offset: 0, type: .integer(size: 8, signed: false)),
            .init(
              name: "header",
              offset: 8,
              type: .structure(
                CompositeLayout(
                  name: "header",
                  size: 4,
                  members: [
                    .init(name: "kind", offset: 0, type: .integer(size: 2, signed: false)),
                    .init(name: "length", offset: 2, type: .integer(size: 2, signed: false)),
                  ]
                )
              )
            ),
            .init(
              name: "samples",
              offset: 16,
              type: .array(of: .integer(size: 4, signed: false), count: 4)
            ),
            .init(name: "digest", offset: 32, type: .array(of: .character, count: 16)),
          ]
        )
      )
    )
    let comparison = try LayoutComparison(of: Message.self, map: message.type, mapName: "messages")
    #expect(comparison.isMatch, "\(comparison)")
  }

  @Test func importedStructure() throws {
    let object = try BPFObject(.waitTimes)
    let layout = try object.layout(ofMap: "wait_times")
    let comparison = try LayoutComparison(
      of: wait_time.self,
      map: layout.type,
      mapName: "wait_times"
    )
    #expect(comparison.isMatch, "\(comparison)")

    let fake = try FakeBackend(map: "wait_times", of: object)
    let waits = try TaskLocalStorage<wait_time>(backend: fake)
    try waits.withCurrent { wait in
      wait.total += 1_000
      wait.reason = WAIT_LOCK
      _ = wait.array(\.name, of: CChar.self).replaceString(with: "worker")
    }
    #expect(try waits.withCurrent { $0.array(\.name, of: CChar.self).copyString() } == "worker")
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
