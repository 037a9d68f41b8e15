// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import MmapStorageTesting
import Testing

/// `struct cursor` of nested-structures.bpf.c. Swift puts `visible` into the padding of `position`.
private enum WithoutPadding {
  struct Position: MapValue {
    var line: UInt32
    var column: UInt8
  }

  struct Cursor: MapValue {
    var position: Position
    var visible: UInt8
  }
}

struct Position: MapValue {
  var line: UInt32
  var column: UInt8
  var padding: (UInt8, UInt8, UInt8)

  static var fields: Fields<Self> {
    Field("line", \.line)
    Field("column", \.column)
    Field.padding(\.padding)
  }
}

struct Cursor: MapValue {
  var position: Position
  var visible: UInt8
}

/// The article contains errors in the form in which they are printed.
@Suite struct Troubleshooting {
  @Test func nestedStructures() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(.nestedStructures).layout(ofMap: "cursors").check(WithoutPadding.Cursor.self)
    }
    #expect(try Article.troubleshooting.quotes("\(error)"), "\(error)")
    try BPFObject(.nestedStructures).layout(ofMap: "cursors").check(Cursor.self)
  }

  @Test func unknownMap() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(.nestedStructures).layout(ofMap: "cursor")
    }
    #expect(error.kind == .notFound)
  }
}

@Suite(.liveKernel, .serialized)
struct TroubleshootingLive {
  @Test func misspeltTracepoint() throws {
    let error = try #require(throws: BPFError.self) { try BPFObject(.misspeltTracepoint).load() }
    let printed = "\(error)".split(separator: "\n")[0]
    #expect(try Article.troubleshooting.quotes(String(printed)), "\(error)")
  }

  @Test func missingNullCheck() throws {
    let error = try #require(throws: BPFError.self) { try BPFObject(.missingNullCheck).load() }
    let printed = "\(error)".split(separator: "\n")[0]
    #expect(try Article.troubleshooting.quotes(String(printed)), "\(error)")
  }
}
