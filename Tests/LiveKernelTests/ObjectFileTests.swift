// SPDX-License-Identifier: Apache-2.0
import Foundation
@_spi(Generated) import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Opening and configuring objects: needs neither rights nor a kernel with BPF.
@Suite struct ObjectFileTests {
  @Test func opensAFileAndNamesWhatIsInIt() throws {
    try withTemporaryDirectory { directory in
      let path = directory.appending("counters.v2.bpf.o")
      try Data(BPFObjectImage.taskCounters.bytes).write(to: URL(filePath: path.string))
      let object = try BPFObject(contentsOf: path)
      #expect(object.name == "counters")
      #expect(object.mapNames == ["task_counters", "by_number"])
      #expect(object.programNames == ["count_calls", "add_number"])
    }
  }

  @Test func aMissingFile() throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(contentsOf: "/nonexistent/a.bpf.o")
    }
    #expect(error.kind == .notFound && error.errno == .noSuchFileOrDirectory)
    #expect(error.object == "file '/nonexistent/a.bpf.o'")
  }

  @Test func aDirectoryAndADeviceWithoutEnd() throws {
    #expect(throws: BPFError.self) { try BPFObject(contentsOf: "/tmp") }
    let error = try #require(throws: BPFError.self) { try BPFObject(contentsOf: "/dev/zero") }
    #expect(error.kind == .invalidObject)
  }

  @Test(arguments: [[], Array("#!/bin/sh\n".utf8), [0x7f, 0x45, 0x4c, 0x46]])
  func bytesThatAreNotAnObject(bytes: [UInt8]) throws {
    let error = try #require(throws: BPFError.self) {
      try BPFObject(bytes: bytes, name: "wrong")
    }
    #expect(error.kind == .invalidObject)
    #expect(error.object == "object 'wrong'" && !error.advice.isEmpty)
  }

  @Test func truncatedObjects() {
    let bytes = BPFObjectImage.taskCounters.bytes
    for length in stride(from: 0, to: bytes.count, by: 37) {
      let error = #expect(throws: BPFError.self, "cut to \(length) bytes") {
        try BPFObject(bytes: Array(bytes[..<length]), name: "cut")
      }
      #expect(error?.kind == .invalidObject)
    }
  }

  @Test func anObjectWithoutTypeInformation() throws {
    let bytes = replacing(".BTF", by: ".XYZ", in: BPFObjectImage.taskCounters.bytes)
    let error = try #require(throws: BPFError.self) {
      try BPFObject(bytes: bytes, name: "bare")
    }
    #expect(error.kind == .invalidObject)
    #expect(error.advice.contains("-g"))
    #expect(error.details.contains("BTF"), "libbpf's own words are missing: \(error)")
  }

  @Test func globalsOfAnObjectWithoutTypeInformation() throws {
    let bytes = replacing(".BTF", by: ".XYZ", in: BPFObjectImage.unattachable.bytes)
    let object = try BPFObject(bytes: bytes, name: "bare")
    let error = try #require(throws: BPFError.self) {
      try object.setGlobal("seen", to: UInt32(1))
    }
    #expect(error.kind == .layoutUnavailable && error.advice.contains("-g"))
  }

  @Test func settingsReadBack() throws {
    let object = try BPFObject(.taskCounters)
    #expect(try object.global("target_tgid", as: Int32.self) == -1)
    #expect(try object.global("total", as: UInt64.self) == 5)
    #expect(try object.global("hidden", as: UInt32.self) == 7)
    #expect(try object.global("paused", as: Bool.self) == false)
    try object.setGlobal("target_tgid", to: Int32(12))
    try object.setGlobal("total", to: UInt64(6))
    try object.setGlobal("seen", to: UInt32(8))
    try object.setGlobal("paused", to: true)
    try object.setGlobal("initial_limits", to: Limits(low: 3, high: 4))
    #expect(try object.global("target_tgid", as: Int32.self) == 12)
    #expect(try object.global("total", as: UInt64.self) == 6)
    #expect(try object.global("seen", as: UInt32.self) == 8)
    #expect(try object.global("paused", as: Bool.self))
    #expect(try object.global("initial_limits", as: Limits.self).high == 4)
    #expect(try object.mapFlags(of: "task_counters") == .noPrealloc)
    try object.setMapFlags([.noPrealloc, .mmapable], of: "task_counters")
    #expect(try object.mapFlags(of: "task_counters") == [.noPrealloc, .mmapable])
  }

  @Test func aGlobalOfAnotherSizeOrKindIsNotTouched() throws {
    let object = try BPFObject(.taskCounters)
    expectMismatch { try object.setGlobal("target_tgid", to: Int64(1)) }
    expectMismatch { try object.setGlobal("target_tgid", to: UInt32(1)) }
    expectMismatch { try object.setGlobal("target_tgid", to: Float(1)) }
    expectMismatch { try object.setGlobal("paused", to: UInt8(1)) }
    expectMismatch { try object.setGlobal("initial_limits", to: UInt32(1)) }
    expectMismatch { try object.setGlobal("initial_limits", to: SwappedLimits(high: 1, low: 2)) }
    expectMismatch { _ = try object.global("total", as: Double.self) }
    #expect(try object.global("target_tgid", as: Int32.self) == -1)
    #expect(try object.global("initial_limits", as: Limits.self).low == 1)
  }

  @Test func aFileThatIsNeverWritten() async {
    await #expect(processExitsWith: .success) {
      alarm(30)
      try withTemporaryDirectory { directory in
        let path = directory.appending("pipe")
        #expect(mkfifo(path.string, 0o600) == 0)
        let error = #expect(throws: BPFError.self) { try BPFObject.open(file: path) }
        #expect(error?.kind == .invalidObject, "\(String(describing: error))")
      }
    }
  }

  @Test func aGlobalThatDoesNotFitIntoItsSection() async {
    await #expect(processExitsWith: .success) {
      var bytes = BPFObjectImage.taskCounters.bytes
      let types = try #require(section(".BTF", of: bytes))
      let start = try #require(bytes.firstRange(of: types)).lowerBound
      func word(_ offset: Int) -> Int {
        (0..<4).reduce(0) { $0 | Int(types[offset + $1]) << (8 * $1) }
      }
      let names = word(4) + word(16)
      for type in typeOffsets(types) where word(type + 4) >> 24 & 0x1f == 15 {
        if types[(names + word(type))...].starts(with: ".maps".utf8) { continue }
        for index in 0..<word(type + 4) & 0xffff {
          put(1 << 20, at: start + type + 12 + 12 * index + 8, into: &bytes)
        }
      }
      let object = try BPFObject(bytes: bytes, name: "damaged")
      let error = #expect(throws: BPFError.self) {
        try object.setGlobal("target_tgid", to: Int32(1))
      }
      #expect(error?.kind == .invalidObject, "\(String(describing: error))")
    }
  }

  @Test func aGlobalBoolIsTrueOrFalse() throws {
    let object = try BPFObject(.taskCounters)
    try object.withGlobal("paused", attempt: "test", forWriting: true) { $0.setFirstByte(2) }
    let paused = try object.global("paused", as: Bool.self)
    #expect(unsafeBitCast(paused, to: UInt8.self) == 1)
    let initial = InitialGlobalValues(object).load(Bool.self, "paused")
    #expect(unsafeBitCast(initial, to: UInt8.self) == 1)
  }

  @Test func aGlobalThatIsLentForReadingIsNotWritten() async {
    await #expect(processExitsWith: .trap) {
      let object = try BPFObject(.taskCounters)
      try object.withGlobal("paused", attempt: "test", forWriting: false) { $0.setFirstByte(1) }
    }
  }

  @Test func anUnknownGlobalIsAnsweredWithTheKnownOnes() throws {
    let object = try BPFObject(.taskCounters)
    let error = try #require(throws: BPFError.self) {
      try object.setGlobal("tgid", to: Int32(1))
    }
    #expect(error.kind == .notFound)
    for name in ["target_tgid", "initial_limits", "total", "seen", "paused", "hidden"] {
      #expect(error.advice.contains(name))
    }
    #expect(!error.advice.contains("task_counters") && !error.advice.contains("license"))
  }

  @Test func unknownMapsAndProgramsAreAnsweredWithTheKnownOnes() throws {
    let object = try BPFObject(.taskCounters)
    let map = try #require(throws: BPFError.self) {
      try object.setMapFlags([], of: "counters")
    }
    #expect(map.kind == .notFound && map.advice.contains("task_counters, by_number"))
    let program = try #require(throws: BPFError.self) {
      try object.program("count").setAutoload(false)
    }
    #expect(program.kind == .notFound && program.advice.contains("count_calls, add_number"))
    #expect(throws: BPFError.self) { try object.setMaxEntries(-1, of: "by_number") }
  }

  @Test func callsThatNeedALoadedObject() throws {
    let object = try BPFObject(.taskCounters)
    expectWrongState { _ = try object.map("task_counters") }
    expectWrongState { _ = try object.maps() }
    expectWrongState { _ = try object.attach() }
    expectWrongState { _ = try object.program("count_calls").attach() }
  }

  @Test func nothingWorksAfterClosing() throws {
    let object = try BPFObject(.taskCounters)
    object.close()
    object.close()
    expectWrongState { try object.load() }
    expectWrongState { _ = try object.map("task_counters") }
    expectWrongState { _ = try object.maps() }
    expectWrongState { _ = try object.attach() }
    expectWrongState { _ = try object.program("count_calls").attach() }
    expectWrongState { _ = try object.mapFlags(of: "task_counters") }
    expectWrongState { try object.setMapFlags([], of: "task_counters") }
    expectWrongState { try object.setMaxEntries(1, of: "by_number") }
    expectWrongState { try object.setAutocreate(false, map: "by_number") }
    expectWrongState { try object.program("count_calls").setAutoload(false) }
    expectWrongState { try object.setGlobal("seen", to: UInt32(1)) }
    expectWrongState { _ = try object.global("seen", as: UInt32.self) }
  }
}

typealias Limits = TaskCounters.Limits

private struct SwappedLimits: MapValue {
  var high: UInt16
  var low: UInt16
}

func expectWrongState(
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  let error = #expect(throws: BPFError.self, sourceLocation: sourceLocation, performing: body)
  #expect(error?.kind == .wrongState, "\(error?.description ?? "")", sourceLocation: sourceLocation)
}

private func expectMismatch(
  sourceLocation: SourceLocation = #_sourceLocation,
  _ body: () throws -> Void
) {
  let error = #expect(throws: BPFError.self, sourceLocation: sourceLocation, performing: body)
  #expect(
    error?.kind == .layoutMismatch,
    "\(error?.description ?? "")",
    sourceLocation: sourceLocation
  )
}

private func replacing(_ old: String, by new: String, in bytes: [UInt8]) -> [UInt8] {
  var bytes = bytes
  let pattern = Array(old.utf8)
  var start = 0
  while let found = bytes[start...].firstRange(of: pattern) {
    bytes.replaceSubrange(found, with: Array(new.utf8))
    start = found.upperBound
  }
  return bytes
}

func withTemporaryDirectory(_ body: (FilePath) throws -> Void) throws {
  let directory = FileManager.default.temporaryDirectory.appending(path: UUID().uuidString)
  try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
  defer { try? FileManager.default.removeItem(at: directory) }
  try body(FilePath(directory.path))
}
