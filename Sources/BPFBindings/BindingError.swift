// SPDX-License-Identifier: Apache-2.0

/// The reason why no Swift code can be generated for an object, and what to change.
public struct BindingError: Error, CustomStringConvertible {
  /// The text for the user.
  public var description: String
  /// The C name of the declaration that caused the error; empty if there is none. Used to find the
  /// line.
  public var cName: String
  /// The structure that the name belongs to; empty for a name at file scope.
  public var enclosing: String

  /// Creates an error.
  public init(_ description: String, near cName: String = "", in enclosing: String = "") {
    self.description = description
    self.cName = cName
    self.enclosing = enclosing
  }
}
