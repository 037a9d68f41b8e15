// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import MmapStorageTesting
import Testing

@Suite struct UnionBooleanTests {
  /// `Optional` does not show that the type has a `Bool`.
  @Test func aCopyOfAUnionHasNoBoolOtherThanTrueAndFalse() throws {
    #expect(MemoryLayout<test_switch?>.size > MemoryLayout<test_switch>.size)
    let fake = try FakeBackend(layoutOf: test_switch.self)
    let storage = try TaskLocalStorage<test_switch>(backend: fake)
    fake.write([0x80], at: 4, into: .current)
    #expect(try storage.withCurrent { $0.load() }.level == 1)
  }
}
