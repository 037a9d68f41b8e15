// SPDX-License-Identifier: Apache-2.0
/// The layout of a map's values, from the map's type information.
public struct ValueLayout: Sendable, Equatable {
  /// The C name: a structure's tag or a typedef's name, such as "request_tag".
  package var name: String
  /// The type of the value.
  package var type: FieldType
  /// Whether the map has a pointer (`__uptr`) to a page with the value, instead of the value itself.
  package var isInUserPage: Bool
  /// The id of the value type that the map has if its values are in user pages. A process that may
  /// not read a map's type information uses it to determine where the values are.
  package var userPageTypeID: UInt32?

  /// Creates a layout.
  package init(name: String, type: FieldType, isInUserPage: Bool = false) {
    self.name = name
    self.type = type
    self.isInUserPage = isInUserPage
  }

  /// Whether name, type and place (user page or element) are equal.
  public static func == (one: Self, other: Self) -> Bool {
    (one.name, one.type, one.isInUserPage) == (other.name, other.type, other.isInUserPage)
  }
}
