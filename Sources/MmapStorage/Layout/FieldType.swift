/// What a field is, on either side: what the Swift compiler or the map's BTF says about it.
public indirect enum FieldType: Sendable, Hashable {
  /// A whole number of `size` bytes.
  case integer(size: Int, signed: Bool)
  /// C's `char`: one byte of text. Matches a signed and an unsigned Swift byte alike.
  case character
  /// C's `bool`: one byte.
  case boolean
  /// An IEEE number of `size` bytes.
  case floatingPoint(size: Int)
  /// A C enumeration of `size` bytes; matches a whole number of the same size and sign.
  case enumeration(name: String, size: Int, signed: Bool)
  /// `count` elements behind each other. An array of arrays is an array whose element is one.
  case array(of: FieldType, count: Int)
  /// A structure with its members.
  case structure(CompositeLayout)
  /// A union with its alternatives, all at offset 0.
  case union(CompositeLayout)
  /// Bytes that the Swift side declares on purpose without saying what they are; matches anything
  /// of the same size.
  case opaque(size: Int)
  /// Something in the map's BTF that a value cannot hold in Swift.
  case unsupported(name: String, size: Int, advice: String)
}

/// The members of a structure or union.
public struct CompositeLayout: Sendable, Hashable {
  /// A member of a structure or union.
  public struct Member: Sendable, Hashable {
    /// The C name; empty for an anonymous structure or union. On the Swift side it may be the
    /// property's name, or a dotted path such as "header.kind" into a structure or union.
    public var name: String
    /// Bytes from the start of the structure that the member stands in.
    public var offset: Int
    /// What the member is.
    public var type: FieldType

    /// Creates a member.
    public init(name: String, offset: Int, type: FieldType) {
      self.name = name
      self.offset = offset
      self.type = type
    }
  }

  /// The tag, such as "request_tag"; empty for an anonymous one.
  public var name: String
  /// Bytes, trailing padding included.
  public var size: Int
  /// The members in order of declaration.
  public var members: [Member]

  /// Creates a description.
  public init(name: String, size: Int, members: [Member]) {
    self.name = name
    self.size = size
    self.members = members
  }
}
