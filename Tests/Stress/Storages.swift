// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import TestSupport

typealias Small = Stressed.Small
typealias Large = Stressed.Large

/// The backend that a driver stresses.
enum StressedBackend: String, CaseIterable {
  case fakeDirect, fakeCopying, lookup, userPage, mapped

  /// The reason why it does not work here, or nil.
  var obstacle: String? {
    switch self {
    case .fakeDirect, .fakeCopying: nil
    case .lookup: LiveKernel.obstacle
    case .userPage: LiveKernel.userPageObstacle
    case .mapped: LiveKernel.mappingObstacle
    }
  }

  /// Whether it works here, or `MMAPSTORAGE_REQUIRE` requires it. The drivers then fail without it.
  var mayRun: Bool {
    switch self {
    case .fakeDirect, .fakeCopying: true
    case .lookup: LiveKernel.mayRun
    case .userPage: LiveKernel.mayShareUserPages
    case .mapped: LiveKernel.mayMap
    }
  }

  /// Whether other processes see the values that one process writes: a fake's values are copied at
  /// a fork.
  var isLive: Bool { self != .fakeDirect && self != .fakeCopying }

  private var kinds: Set<BackendKind> {
    switch self {
    case .fakeDirect, .fakeCopying: []
    case .lookup: [.lookup]
    case .userPage: [.userPage]
    case .mapped: [.mapped]
    }
  }

  func makeStorages() throws -> Storages {
    let object = try BPFObject(.stressed, allowing: kinds)
    if isLive { try object.load() }
    @Sendable
    func make<Value: MapField>(_ type: Value.Type, _ map: String) throws -> TaskLocalStorage<Value>
    {
      if isLive { return try TaskLocalStorage(map: object.map(map), allowing: kinds) }
      let access: FakeBackend.Access = self == .fakeDirect ? .direct : .copying
      return try TaskLocalStorage(backend: FakeBackend(map: map, of: object, access: access))
    }
    return Storages(
      first: try make(Small.self, "first"),
      second: try make(Small.self, "second"),
      third: try make(Large.self, "third"),
      makeAnother: { try make(Small.self, "second") }
    )
  }
}

/// The storages of one object.
struct Storages: Sendable {
  let first: TaskLocalStorage<Small>
  let second: TaskLocalStorage<Small>
  let third: TaskLocalStorage<Large>
  /// Another storage over the map `second`, or over a new fake map.
  let makeAnother: @Sendable () throws -> TaskLocalStorage<Small>

  /// Writes to the calling thread's values and reads them back.
  func use(as owner: UInt64) throws {
    try first.withCurrent { $0.owner = owner }
    try second.withCurrent { $0.owner = owner &+ 1 }
    try third.withCurrent { (large) throws(BPFError) in
      large.owner = owner &+ 2
      try first.withCurrent { $0.steps &+= 1 }
    }
    try expect(first.withCurrent { $0.owner } == owner, "the first value is this thread's")
    try expect(second.withCurrent { $0.owner } == owner &+ 1, "the second value is this thread's")
    try expect(third.withCurrent { $0.owner } == owner &+ 2, "the third value is this thread's")
  }
}

struct Unexpected: Error, CustomStringConvertible {
  var description: String
}

func expect(
  _ condition: @autoclosure () throws -> Bool,
  _ what: @autoclosure () -> String,
  line: Int = #line
) throws {
  if try !condition() { throw Unexpected(description: "does not hold (line \(line)): \(what())") }
}
