// SPDX-License-Identifier: Apache-2.0

/// A C type, with typedefs and qualifiers removed.
indirect enum CType: Equatable {
  case integer(size: Int, signed: Bool)
  case character
  case boolean
  case floatingPoint(size: Int)
  case enumeration(UInt32)
  case array(CType, count: Int)
  case composite(UInt32)
  /// An address. `tag` is the type tag of the target, such as "kptr".
  case pointer(tag: String)
  /// A structure that only the kernel may change, such as `struct bpf_spin_lock`.
  case kernelOwned(name: String, size: Int)
}

/// An enumeration.
struct CEnumeration {
  var id: UInt32
  /// The tag, or the name of a typedef; empty if there is neither.
  var name: String
  var size: Int
  var isSigned: Bool
  /// The names and the bits of the values.
  var values: [(name: String, bits: UInt64)]
}

/// A structure or union.
struct CComposite {
  var id: UInt32
  /// The tag, or the name of a typedef; empty if there is neither.
  var name: String
  /// Whether `name` is a tag, and not a typedef's name.
  var isTag: Bool
  var isUnion: Bool
  var size: Int
  var members: [CMember]
}

/// A member of a structure or union.
struct CMember {
  /// Empty for an anonymous structure or union.
  var name: String
  var type: CType
  var bitOffset: Int
  /// Bits of a bit-field; 0 for other members.
  var bitSize: Int
  /// The declaration, such as `__u32 words[4]`.
  var declaration: String

  var offset: Int { bitOffset / 8 }
}
