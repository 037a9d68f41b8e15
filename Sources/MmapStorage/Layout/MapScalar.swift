/// A field that the machine reads and writes in one piece: a whole number, a floating-point
/// number, a `Bool`, or a type that wraps one of those (a C enumeration, an option set).
///
/// A wrapper conforms by naming the protocol; the implementation comes with `RawRepresentable`:
///
/// ```swift
/// struct Phase: RawRepresentable, MapScalar {
///   var rawValue: UInt32
///   static let queued = Phase(rawValue: 0)
/// }
/// ```
///
/// A Swift `enum` cannot be a field: the program may write a number that is none of its cases, and
/// Swift does not store the raw value. Use a wrapper structure as above.
public protocol MapScalar: MapField {
  /// The unsigned number of the same width that goes to and from memory.
  associatedtype Bits: ScalarBits

  /// The value that these bits stand for.
  init(mapBits: Bits)

  /// The bits that stand for this value.
  var mapBits: Bits { get }
}

/// The four unsigned widths that a scalar field goes to and from memory in.
///
/// Only `UInt8`, `UInt16`, `UInt32` and `UInt64` conform.
public protocol ScalarBits: FixedWidthInteger, UnsignedInteger, MapScalar where Bits == Self {
  /// Loads once, with volatile semantics.
  static func _load(_ address: UnsafeRawPointer) -> Self
  /// Stores once, with volatile semantics.
  static func _store(_ address: UnsafeMutableRawPointer, _ value: Self)
  /// Loads atomically, ordered before what follows.
  static func _loadAcquire(_ address: UnsafeRawPointer) -> Self
  /// Loads atomically, in one order with all such accesses.
  static func _loadSequentiallyConsistent(_ address: UnsafeRawPointer) -> Self
  /// Stores atomically, ordered after what went before.
  static func _storeRelease(_ address: UnsafeMutableRawPointer, _ value: Self)
  /// Stores atomically, in one order with all such accesses.
  static func _storeSequentiallyConsistent(_ address: UnsafeMutableRawPointer, _ value: Self)
  /// Adds atomically, wrapping around; gives the number from before.
  static func _fetchAdd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self
  /// Clears bits atomically; gives the number from before.
  static func _fetchAnd(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self
  /// Sets bits atomically; gives the number from before.
  static func _fetchOr(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self
  /// Replaces the number atomically; gives the one from before.
  static func _exchange(_ address: UnsafeMutableRawPointer, _ value: Self) -> Self
  /// Replaces the number atomically if it is `expected`; otherwise puts it into `expected`.
  static func _compareExchange(
    _ address: UnsafeMutableRawPointer,
    _ expected: inout Self,
    _ desired: Self
  ) -> Bool
}
