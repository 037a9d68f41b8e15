// SPDX-License-Identifier: Apache-2.0
import CTestValues
import MmapStorage
import Testing

@Suite struct LayoutFieldOffsetTests {
  struct Value {
    var a: UInt8
    var b: UInt64
    var nested: Nested
    var narrow: UInt32 {
      get { UInt32(a) }
      set { a = UInt8(truncatingIfNeeded: newValue) }
    }
    var ignored: UInt32 {
      get { 0 }
      set {}
    }
    var doubled: UInt32 {
      get { nested.x / 2 }
      set { nested.x = newValue * 2 }
    }
    var readOnly: UInt64 { b }
  }
  struct Nested {
    var x: UInt32
    var words: InlineArray<2, UInt16>
  }

  struct Flags {
    var stored: Bool
    var bits: UInt8
    var low: UInt8 {
      get { bits & 7 }
      set { bits = bits & ~7 | newValue & 7 }
    }
    var isOn: Bool {
      get { bits & 1 == 1 }
      set { bits = bits & ~1 | (newValue ? 1 : 0) }
    }
    var whole: UInt8 {
      get { bits }
      set { bits = newValue }
    }
  }

  struct WithReference {
    var list: [Int]
    var count: UInt64 {
      get { UInt64(list.count) }
      set { list = [] }
    }
  }

  @Test func findsStoredProperties() {
    #expect(MemoryLayout<Value>.fieldOffset(of: \.a) == 0)
    #expect(MemoryLayout<Value>.fieldOffset(of: \.b) == 8)
    #expect(MemoryLayout<Value>.fieldOffset(of: \.nested.words) == 20)
    #expect(MemoryLayout<test_rich>.fieldOffset(of: \.header.length) == 20)
  }

  @Test func findsMembersOfAnonymousStructuresAndUnions() {
    #expect(MemoryLayout<test_anonymous>.fieldOffset(of: \.inner_a) == 8)
    #expect(MemoryLayout<test_anonymous>.fieldOffset(of: \.inner_b) == 16)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.number) == 4)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.ratio) == 4)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.bytes) == 4)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.key) == 8)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.key.point.y) == 12)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.key.tail) == 8)
    #expect(MemoryLayout<test_choice>.fieldOffset(of: \.key.tail.part) == 16)
  }

  @Test func doesNotFindBitFields() {
    #expect(MemoryLayout<Flags>.findFieldOffset(of: \.low) == nil)
    #expect(MemoryLayout<Flags>.findFieldOffset(of: \.isOn) == nil)
    #expect(MemoryLayout<Flags>.findFieldOffset(of: \.whole) == 1)
  }

  @Test func doesNotFindWhatHasNoBytesOfItsOwn() {
    #expect(MemoryLayout<Value>.findFieldOffset(of: \.readOnly) == nil)
    #expect(MemoryLayout<Value>.findFieldOffset(of: \.doubled) == nil)
    #expect(MemoryLayout<WithReference>.findFieldOffset(of: \.count) == nil)
    #expect(MemoryLayout<Value>.findFieldOffset(of: \.narrow) == nil)
    #expect(MemoryLayout<Value>.findFieldOffset(of: \.ignored) == nil)
  }
}
