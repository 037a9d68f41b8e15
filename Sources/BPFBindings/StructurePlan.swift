// SPDX-License-Identifier: Apache-2.0

/// How a C structure or union is stored in a Swift structure.
///
/// The Swift structure has stored properties for all bytes, in order, so its layout does not depend
/// on Swift's padding. A member has a stored property of its own if Swift can align it and no other
/// member has the same bytes. All other bytes are stored as arrays of integers, and members that are
/// in them are computed properties.
struct StructurePlan {
  /// A member with a name. The members of anonymous structures and unions belong to the enclosing one.
  struct Leaf {
    var cName: String
    var bitOffset: Int
    var bitSize: Int
    var type: CType
    var swiftType: SwiftType
    var declaration: String
    /// Whether it is an alternative of a union. It then has no stored property, so that a `Bool` is
    /// never stored at the bytes of another alternative.
    var isAlternative = false
    /// Whether another member has some of the same bytes.
    var isShared = false
    /// Whether it has a stored property.
    var isStored = false
    /// Whether it is at a multiple of its alignment, wherever the structure is.
    var isAligned = false
    var name = ""

    var offset: Int { bitOffset / 8 }
    var bits: Range<Int> {
      bitOffset..<bitOffset + (bitSize == 0 ? swiftType.size * 8 : bitSize)
    }
    var bytes: Range<Int> { bits.lowerBound / 8..<(bits.upperBound + 7) / 8 }
  }

  /// A stored property.
  enum Piece {
    /// The stored property of the leaf with this index.
    case leaf(Int)
    /// `count` integers of `width` bytes.
    case words(offset: Int, width: Int, count: Int, isPadding: Bool)
  }

  var leaves: [Leaf]
  var pieces: [Piece] = []
  /// The alignment in Swift.
  var alignment = 1

  init(leaves: [Leaf], size: Int) {
    self.leaves = leaves
    for index in leaves.indices {
      let leaf = leaves[index]
      let isShared = leaves.indices.contains {
        $0 != index && leaves[$0].bits.overlaps(leaf.bits)
      }
      let alignment = leaf.swiftType.alignment
      self.leaves[index].isShared = isShared
      self.leaves[index].isStored =
        !isShared && !leaf.isAlternative && leaf.bitSize == 0 && !leaf.swiftType.isHidden
        && leaf.offset % alignment == 0 && size % alignment == 0
    }
    var position = 0
    let stored = self.leaves.indices.filter { self.leaves[$0].isStored }
      .sorted { self.leaves[$0].offset < self.leaves[$1].offset }
    for index in stored {
      let leaf = self.leaves[index]
      fill(position..<leaf.offset, size: size)
      pieces.append(.leaf(index))
      alignment = max(alignment, leaf.swiftType.alignment)
      position = leaf.bytes.upperBound
    }
    fill(position..<size, size: size)
    for index in self.leaves.indices {
      let leaf = self.leaves[index]
      self.leaves[index].isAligned =
        leaf.bitSize == 0 && leaf.offset % leaf.swiftType.alignment == 0
        && leaf.swiftType.alignment <= alignment
    }
  }

  /// Stores the bytes that no stored property of a member covers.
  private mutating func fill(_ range: Range<Int>, size: Int) {
    let inside = leaves.filter { !$0.isStored && $0.bytes.overlaps(range) }
    let widest = inside.map(\.swiftType.alignment).max() ?? 1
    var position = range.lowerBound
    while position < range.upperBound {
      var width = 8
      while width > widest || size % width != 0 || position % width != 0
        || position + width > range.upperBound
      {
        width /= 2
      }
      let isPadding = !inside.contains { $0.bytes.overlaps(position..<position + width) }
      if case .words(let offset, width, let count, isPadding)? = pieces.last,
        offset + width * count == position
      {
        pieces[pieces.count - 1] =
          .words(offset: offset, width: width, count: count + 1, isPadding: isPadding)
      } else {
        pieces.append(.words(offset: position, width: width, count: 1, isPadding: isPadding))
      }
      alignment = max(alignment, width)
      position += width
    }
  }
}

/// A Swift type that represents a C type.
struct SwiftType {
  /// The type in Swift.
  var text: String
  var size: Int
  var alignment: Int
  /// An expression for the value that is all zero.
  var zero: String
  /// The layout, as an expression of type `FieldLayout`.
  var layout: String
  /// Whether it is an integer that is sign-extended in a bit-field.
  var isSigned = false
  /// Whether only the kernel may access it.
  var isHidden = false
}
