// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage
import MmapStorageTesting
import SystemPackage
import Testing

/// `struct position` of nested-structures.bpf.c. Swift puts the next property into its padding.
private struct PositionWithoutPadding: MapValue {
  var line: UInt32
  var column: UInt8
}

private struct CursorWithoutPadding: MapValue {
  var position: PositionWithoutPadding
  var visible: UInt8
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

/// The article quotes errors as they are printed.
@Suite struct Troubleshooting {
  @Test func nestedStructures() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(.nestedStructures).layout(ofMap: "cursors").check(CursorWithoutPadding.self)
    }
    let printed = "\(error)"
      .replacing("PositionWithoutPadding", with: "Position")
      .replacing("CursorWithoutPadding", with: "Cursor")
    #expect(try Article.troubleshooting.quotes(printed), "\(printed)")
    try BPFObject(.nestedStructures).layout(ofMap: "cursors").check(Cursor.self)
  }

  @Test func unknownMap() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(.nestedStructures).layout(ofMap: "cursor")
    }
    #expect(error.kind == .notFound)
  }
}

@Suite(.enabled(if: geteuid() == 0, "loading BPF programs needs root"), .serialized)
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

  @Test func readOnly() throws {
    let path = FilePath("/sys/fs/bpf/mmapstorage_docs_\(getpid())")
    let object = try loadAndPin(at: path)
    let map = try object.map("request_tags")
    defer { try? map.unpin(at: path) }

    let layout = try object.layout(ofMap: "request_tags")
    let readOnly = try BPFMap(pinnedAt: path, readOnly: true)
    let error = try #require(throws: BPFError.self) {
      let tags = try TaskLocalStorage<RequestTag>(map: readOnly, layout: layout)
      try tags.withCurrent { $0.priority = 1 }
    }
    #expect(try Article.troubleshooting.quotes("\(error)"), "\(error)")
  }
}
