// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import Testing

struct Work: MapValue {
  struct Span: MapValue {
    var start: UInt64
    var end: UInt64
  }

  var span: Span
  var samples: InlineArray<8, UInt32>
  var flags: UInt32
  var sequence: UInt32
  var hits: UInt64
}

private func next() async {}

@Suite struct Views {
  let fake: FakeBackend
  let work: TaskLocalStorage<Work>

  init() throws {
    fake = try FakeBackend(layoutOf: Work.self)
    work = try TaskLocalStorage(backend: fake)
  }

  @Test func fields() throws {
    try work.withCurrent { work in
      work.flags |= 1  // one load, one store
      work.span.start = 100  // a field of a nested structure
      work.samples[3] = 7  // an element of an array
      for index in work.samples.indices where work.samples[index] > 5 {
        work.hits += 1
      }
    }
    #expect(try work.withCurrent { $0.hits } == 1)
  }

  @Test func severalFields() throws {
    let length = try work.withCurrent { (work) throws(BPFError) in
      try work.withSeqcountRead(sequence: \.sequence) { work in
        work.span.end - work.span.start
      }
    }
    #expect(length == 0)

    try work.withCurrent { work in
      work.withSeqcountWrite(sequence: \.sequence) { work in
        work.span.start = 10
        work.span.end = 20
      }
    }
    #expect(try work.withCurrent { $0.sequence } == 2)
  }

  @Test func atomics() throws {
    try work.withCurrent { work in
      work.atomic.hits.wrappingAdd(1)
      work.atomic.flags.bitwiseOr(0b100)
      let pending = work.atomic.flags.exchange(0)
      if pending & 0b100 != 0 { work.hits += 1 }
    }
    #expect(try work.withCurrent { $0.hits } == 2)
  }

  @Test func acrossAwait() async throws {
    try work.withCurrent { $0.flags = 1 }
    await next()
    // The thread may be another one, with another value.
    try work.withCurrent { $0.flags = 1 }
  }

  @Test func otherThreads() throws {
    let id = ThreadID.current
    try work.withCurrent { $0.hits = 5 }
    if var copy = try work.value(of: .thread(id)) {
      copy.hits = 0
      try work.setValue(copy, of: .thread(id))
    }
    let existed = try work.removeValue(of: .thread(id))
    #expect(existed)
  }
}
