// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// The type of a field, as the Swift compiler or the map's BTF describes it.
package indirect enum FieldType: Sendable, Hashable {
  /// An integer of `size` bytes.
  case integer(size: Int, signed: Bool)
  /// C's `char`. Matches a signed and an unsigned Swift byte.
  case character
  /// C's `bool`: one byte.
  case boolean
  /// An IEEE 754 number of `size` bytes.
  case floatingPoint(size: Int)
  /// A C enumeration of `size` bytes. Matches an integer of the same size and sign.
  case enumeration(name: String, size: Int, signed: Bool, enumerators: [Enumerator] = [])
  /// An array of `count` elements.
  case array(of: FieldType, count: Int)
  /// A structure with its members.
  case structure(CompositeLayout)
  /// A union with its alternatives, all at offset 0.
  case union(CompositeLayout)
  /// Bytes that the Swift side does not describe. Matches anything of the same size. `booleans` are
  /// the offsets of the `Bool` properties in the Swift type.
  case opaque(size: Int, booleans: [Int] = [])
  /// A bit-field of `width` bits that begins at bit `bit` of its first byte.
  case bitField(bit: Int, width: Int)
  /// A type in the map's BTF that Swift has no field for.
  case unsupported(name: String, size: Int, advice: String)
}

/// A named constant of a C enumeration.
package struct Enumerator: Sendable, Hashable {
  /// The C name.
  package var name: String
  /// The constant, extended to 64 bits according to the enumeration's signedness.
  package var bits: UInt64

  /// Creates a description.
  package init(name: String, bits: UInt64) {
    self.name = name
    self.bits = bits
  }
}

/// The members of a structure or union.
package struct CompositeLayout: Sendable, Hashable {
  /// A member of a structure or union.
  package struct Member: Sendable, Hashable {
    /// The C name; empty for an anonymous structure or union. On the Swift side it is the property's
    /// name, or a dotted path such as "header.kind" into a structure or union.
    package var name: String
    /// The offset in bytes from the start of the structure.
    package var offset: Int
    /// The type.
    package var type: FieldType

    /// Creates a member.
    package init(name: String, offset: Int, type: FieldType) {
      self.name = name
      self.offset = offset
      self.type = type
    }
  }

  /// The tag, such as "request_tag"; empty if there is none.
  package var name: String
  /// The size in bytes, trailing padding included.
  package var size: Int
  /// The members in order of declaration.
  package var members: [Member]

  /// Creates a description.
  package init(name: String, size: Int, members: [Member]) {
    self.name = name
    self.size = size
    self.members = members
  }
}
