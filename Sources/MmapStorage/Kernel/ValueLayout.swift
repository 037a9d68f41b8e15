/// What a map's value is, as its type information says.
public struct ValueLayout: Sendable, Hashable {
  /// The C name: a structure's tag or a typedef's name, such as "request_tag".
  public var name: String
  /// What the value is.
  public var type: FieldType

  /// Creates a description.
  public init(name: String, type: FieldType) {
    self.name = name
    self.type = type
  }
}
