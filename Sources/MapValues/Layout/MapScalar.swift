// SPDX-License-Identifier: Apache-2.0
/// A field that one load or store accesses: an integer, a floating-point number, a `Bool`, or
/// a type that wraps one of those, such as an imported C enumeration or an option set.
///
/// A wrapper is a structure with one stored property, which is a scalar. It needs no implementation:
///
/// ```swift
/// struct Phase: RawRepresentable, MapScalar {
///   var rawValue: UInt32
///   static let queued = Phase(rawValue: 0)
/// }
/// ```
///
/// A load sets the stored property to the program's bytes, without a call of an initializer. A wrapper
/// of a `Bool` takes a few nanoseconds more.
///
/// A Swift `enum` cannot be a field: a program may store a number that is not a case, and
/// Swift does not store the raw value. Use a wrapper structure as above.
public protocol MapScalar: MapField {}
