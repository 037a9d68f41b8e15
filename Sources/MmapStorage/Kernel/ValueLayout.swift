/// What a map's value is, as its type information says.
public struct ValueLayout: Sendable, Hashable {
  /// The C name: a structure's tag or a typedef's name, such as "request_tag".
  public var name: String
  /// What the value is.
  public var type: FieldType
  /// Whether the map has a pointer (`__uptr`) to a page with the value, instead of the value itself.
  public var isInUserPage: Bool

  /// Creates a description.
  public init(name: String, type: FieldType, isInUserPage: Bool = false) {
    self.name = name
    self.type = type
    self.isInUserPage = isInUserPage
  }
}
