// SPDX-License-Identifier: Apache-2.0

/// The layout of a type in a map's value, for code that `BPFPlugin` generates.
///
/// A generated type has its layout as data, so creating a storage does not use reflection. The layout
/// is that of the object that was compiled, and is compared with the map that is opened.
@_spi(Generated)
public struct FieldLayout: Sendable {
  let type: FieldType

  /// A member of a structure or union.
  public struct Member: Sendable {
    let member: CompositeLayout.Member

    /// Creates a member.
    ///
    /// - Parameters:
    ///   - name: The C name; empty for an anonymous structure or union.
    ///   - offset: Bytes from the start of the structure.
    ///   - layout: The layout of the member's type.
    public init(_ name: String, at offset: Int, _ layout: FieldLayout) {
      member = .init(name: name, offset: offset, type: layout.type)
    }
  }

  /// An unsigned integer of `size` bytes.
  public static func unsigned(_ size: Int) -> Self {
    Self(type: .integer(size: size, signed: false))
  }

  /// A signed integer of `size` bytes.
  public static func signed(_ size: Int) -> Self { Self(type: .integer(size: size, signed: true)) }

  /// C's `char`.
  public static var character: Self { Self(type: .character) }

  /// C's `bool`.
  public static var boolean: Self { Self(type: .boolean) }

  /// A floating-point number of `size` bytes.
  public static func floatingPoint(_ size: Int) -> Self { Self(type: .floatingPoint(size: size)) }

  /// An enumeration of `size` bytes.
  public static func enumeration(_ name: String, size: Int, signed: Bool) -> Self {
    Self(type: .enumeration(name: name, size: size, signed: signed))
  }

  /// An array.
  public static func array(of element: FieldLayout, count: Int) -> Self {
    Self(type: .array(of: element.type, count: count))
  }

  /// A structure of `size` bytes.
  public static func structure(_ name: String, size: Int, _ members: [Member]) -> Self {
    Self(type: .structure(CompositeLayout(name: name, size: size, members: members.map(\.member))))
  }

  /// A union of `size` bytes.
  public static func union(_ name: String, size: Int, _ members: [Member]) -> Self {
    Self(type: .union(CompositeLayout(name: name, size: size, members: members.map(\.member))))
  }

  /// A bit-field that begins at bit `bit` of the member's first byte.
  public static func bitField(bit: Int, width: Int) -> Self {
    Self(type: .bitField(bit: bit, width: width))
  }

  /// `size` bytes that are not compared, such as an address.
  public static func opaque(_ size: Int) -> Self { Self(type: .opaque(size: size)) }

  /// `size` bytes that only the kernel may access.
  public static func kernelOwned(_ name: String, _ size: Int) -> Self {
    Self(type: .unsupported(name: name, size: size, advice: "only the kernel may access it"))
  }
}
