// SPDX-License-Identifier: Apache-2.0
/// An error in the user's package. SwiftPM prints the text and stops.
struct PluginError: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}
