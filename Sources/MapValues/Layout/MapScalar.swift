// SPDX-License-Identifier: Apache-2.0
/// A field that one load or store accesses: an integer, a floating-point number, a `Bool`, or
/// a type that wraps one of those, such as an imported C enumeration or an option set.
///
/// A wrapper is a structure with one stored property. If it is `RawRepresentable`, it needs no
/// implementation:
///
/// ```swift
/// struct Phase: RawRepresentable, MapScalar {
///   var rawValue: UInt32
///   static let queued = Phase(rawValue: 0)
/// }
/// ```
///
/// A Swift `enum` cannot be a field: a program may store a number that is not a case, and
/// Swift does not store the raw value. Use a wrapper structure as above.
public protocol MapScalar: MapField {
  /// An unsigned integer with the same size, of 1, 2, 4 or 8 bytes.
  associatedtype Bits: FixedWidthInteger & UnsignedInteger

  /// Creates the value that is stored as `mapBits`.
  init(mapBits: Bits)

  /// The value as it is stored.
  var mapBits: Bits { get }
}

extension MapScalar where Self: RawRepresentable, RawValue: MapScalar {
  /// Creates the value with these bits. It need not be a named constant.
  @inlinable @inline(__always)
  public init(mapBits: RawValue.Bits) {
    if let value = Self(rawValue: RawValue(mapBits: mapBits)) {
      self = value
    } else {
      self = unlistedValue(RawValue(mapBits: mapBits))
    }
  }

  /// The bits of the raw value.
  @inlinable @inline(__always)
  public var mapBits: RawValue.Bits { rawValue.mapBits }
}
