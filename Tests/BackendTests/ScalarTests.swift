// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import MmapStorageTesting
import TestSupport
import Testing

/// Its initializer is not called with the value that a program stored.
private struct Limit: RawRepresentable, MapScalar, Equatable {
  var rawValue: UInt16

  init?(rawValue: UInt16) {
    guard rawValue <= 100 else { return nil }
    self.rawValue = rawValue
  }
}

private struct Celsius: MapScalar, Equatable {
  var tenths: Int32
}

private struct Switch: MapScalar, Equatable {
  var isOn: Bool
}

private enum Choice: UInt8, MapScalar { case one, two }

private struct One<Scalar: MapScalar>: MapValue {
  var scalar: Scalar

  static var fields: Fields<Self> { Field("scalar", \.scalar) }
}

private struct Choices: PlacedMapValue {
  var bytes = InlineArray<4, UInt8>(repeating: 0)

  static var fields: Fields<Self> { Field("bytes", \.bytes) }

  struct Places {
    var choice: Place<Choice> { Place(0) }
    var bits: BitField<Choice> { BitField(bit: 8, width: 2, signed: false) }
    var isOn: BitField<Switch> { BitField(bit: 16, width: 1, signed: false) }
  }

  static var places: Places { Places() }
}

/// Scalars are stored as their bytes.
@Suite struct ScalarTests {
  private func check<Scalar: MapScalar & Equatable>(_ values: Scalar...) throws {
    let fake = try FakeBackend(layoutOf: One<Scalar>.self)
    let storage = try TaskLocalStorage<One<Scalar>>(backend: fake)
    for value in values {
      try storage.withCurrent { view in
        let first = view.scalar
        let previous = view.atomic.scalar.exchange(value)
        let (exchanged, original) = view.atomic.scalar.compareExchange(
          expected: value,
          desired: first
        )
        let last = view.atomic.scalar.load(ordering: .acquiring)
        #expect(previous == first && exchanged && original == value && last == first)
        view.scalar = value
      }
      #expect(fake.bytes(of: .current) == withUnsafeBytes(of: value, Array.init))
      #expect(try storage.withCurrent { $0.scalar } == value)
      #expect(try storage.value(of: .callingThread)?.scalar == value)
    }
  }

  private func checkInteger<Number: MapScalar & FixedWidthInteger>(_: Number.Type) throws {
    try check(Number.min, 0, 1, 0 &- 1, Number.max)
  }

  @Test func scalarsOfTheStandardLibrary() throws {
    try checkInteger(UInt8.self)
    try checkInteger(Int8.self)
    try checkInteger(UInt16.self)
    try checkInteger(Int16.self)
    try checkInteger(UInt32.self)
    try checkInteger(Int32.self)
    try checkInteger(UInt64.self)
    try checkInteger(Int64.self)
    try checkInteger(UInt.self)
    try checkInteger(Int.self)
    try check(Float(-1.5), .infinity)
    try check(-1.5, Double.infinity)
    try check(false, true)
  }

  @Test func wrappers() throws {
    try check(try #require(Limit(rawValue: 7)))
    try check(Celsius(tenths: -5), Celsius(tenths: 315))
    try check(Switch(isOn: true), Switch(isOn: false))
  }

  @Test func aNumberThatTheInitializerRejects() throws {
    let fake = try FakeBackend(layoutOf: Limit.self)
    let storage = try TaskLocalStorage<Limit>(backend: fake)
    fake.program(on: .current, as: UInt16.self) { $0.value = 300 }
    #expect(try storage.withCurrent { $0.value.rawValue } == 300)
  }

  @Test func aWrapperOfABoolIsTrueOrFalse() throws {
    let fake = try FakeBackend(layoutOf: One<Switch>.self)
    let storage = try TaskLocalStorage<One<Switch>>(backend: fake)
    fake.write([0x80], at: 0, into: .current)
    let loaded = try storage.withCurrent { $0.scalar }
    #expect(loaded.isOn && withUnsafeBytes(of: loaded, Array.init) == [1])
    let exchanged = try storage.withCurrent { $0.atomic.scalar.exchange(Switch(isOn: false)) }
    #expect(exchanged.isOn && withUnsafeBytes(of: exchanged, Array.init) == [1])
    #expect(try storage.withCurrent { !$0.scalar.isOn })
  }

  @Test func aBitFieldOfAWrapper() throws {
    let fake = try FakeBackend(layoutOf: Choices.self)
    let storage = try TaskLocalStorage<Choices>(backend: fake)
    try storage.withCurrent { $0.isOn = Switch(isOn: true) }
    #expect(fake.bytes(of: .current) == [0, 0, 1, 0])
    #expect(try storage.withCurrent { $0.isOn.isOn })
  }

  /// A type with invalid bit patterns cannot be read from other bytes.
  @Test func anEnumerationTraps() async {
    await #expect(processExitsWith: .trap) {
      let fake = try FakeBackend(layoutOf: Choices.self)
      let storage = try TaskLocalStorage<Choices>(backend: fake)
      try storage.withCurrent { _ = $0.choice }
    }
    await #expect(processExitsWith: .trap) {
      let fake = try FakeBackend(layoutOf: Choices.self)
      let storage = try TaskLocalStorage<Choices>(backend: fake)
      try storage.withCurrent { _ = $0.bits }
    }
  }
}
