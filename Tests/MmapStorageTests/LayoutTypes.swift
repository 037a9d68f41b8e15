// SPDX-License-Identifier: Apache-2.0
import MmapStorage

/// Short functions that create layouts, so that a test contains mostly the differences.
extension FieldType {
  static let u8 = integer(size: 1, signed: false)
  static let u16 = integer(size: 2, signed: false)
  static let u32 = integer(size: 4, signed: false)
  static let u64 = integer(size: 8, signed: false)
  static let s8 = integer(size: 1, signed: true)
  static let s16 = integer(size: 2, signed: true)
  static let s32 = integer(size: 4, signed: true)
  static let s64 = integer(size: 8, signed: true)
  static let f32 = floatingPoint(size: 4)
  static let f64 = floatingPoint(size: 8)

  static func array(_ element: FieldType, _ count: Int) -> FieldType {
    .array(of: element, count: count)
  }

  static func structure(
    _ name: String,
    _ size: Int,
    _ members: [CompositeLayout.Member]
  ) -> FieldType {
    .structure(CompositeLayout(name: name, size: size, members: members))
  }

  static func structure(_ size: Int, _ members: [CompositeLayout.Member]) -> FieldType {
    structure("", size, members)
  }

  static func union(_ size: Int, _ members: [CompositeLayout.Member]) -> FieldType {
    .union(CompositeLayout(name: "", size: size, members: members))
  }
}

func member(_ name: String, _ offset: Int, _ type: FieldType) -> CompositeLayout.Member {
  .init(name: name, offset: offset, type: type)
}

func compare(
  _ swift: FieldType,
  _ map: FieldType,
  _ policy: LayoutPolicy = .exact
) -> LayoutComparison {
  LayoutComparison(
    swift: swift,
    swiftName: "RequestTag",
    map: map,
    mapName: "request_tags",
    policy: policy
  )
}

/// The differences by row, as "name: difference, difference". The name is that of the Swift side.
func differences(
  _ swift: FieldType,
  _ map: FieldType,
  _ policy: LayoutPolicy = .exact
) -> [String] {
  compare(swift, map, policy).mismatches.map { row in
    let name = row.swift?.name ?? row.map?.name ?? ""
    let words = row.differences.map { "\($0)" }.sorted().joined(separator: ", ")
    return "\(name.isEmpty ? "whole" : name): \(words)"
  }
}

/// Types that several tests describe.
enum LayoutExamples {
  struct RequestTag: MapValue {
    var requestID: UInt64
    var deadline: UInt64
    var priority: UInt32
    var flags: UInt32
  }

  struct Phase: RawRepresentable, MapScalar {
    var rawValue: UInt32
  }

  struct Mask: OptionSet, MapScalar {
    var rawValue: UInt16
  }

  enum SwiftEnum: UInt8, MapScalar {
    case one = 1
    case two = 2
  }
}
