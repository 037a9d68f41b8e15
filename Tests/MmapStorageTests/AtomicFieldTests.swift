// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import MmapStorageTesting
import TestSupport
import Testing

/// A processor may split an access that is not aligned, or trap.
@Suite struct AtomicFieldTests {
  @Test func aMemberOfAPackedStructure() async {
    await #expect(processExitsWith: .trap) {
      let storage = try TaskLocalStorage<Packed>(backend: FakeBackend(layoutOf: Packed.self))
      try storage.withCurrent { _ = $0.atomic[dynamicMember: \.c.number].load(ordering: .relaxed) }
    }
  }

  @Test func aPlaceThatIsNotAligned() async {
    await #expect(processExitsWith: .trap) {
      let storage = try TaskLocalStorage<Placed>(backend: FakeBackend(layoutOf: Placed.self))
      try storage.withCurrent { _ = $0.atomic.number.load(ordering: .relaxed) }
    }
  }

  @Test func aPlaceThatIsAligned() throws {
    let storage = try TaskLocalStorage<Placed>(backend: FakeBackend(layoutOf: Placed.self))
    #expect(try storage.withCurrent { $0.atomic.aligned.wrappingAdd(3) } == 0)
    #expect(try storage.withCurrent { $0.aligned } == 3)
  }
}

private struct Packed: MapValue {
  var c = test_packed()

  static var fields: Fields<Self> { Field.opaque("c", \.c) }
}

private struct Placed: PlacedMapValue {
  var bytes = InlineArray<4, UInt32>(repeating: 0)

  static var fields: Fields<Self> { Field("bytes", \.bytes) }

  struct Places {
    var number: Place<UInt32> { Place(2) }
    var aligned: Place<UInt32> { Place(8) }
  }

  static var places: Places { Places() }
}
