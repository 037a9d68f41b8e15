// SPDX-License-Identifier: Apache-2.0
/// What the user did that the plugin cannot work with. SwiftPM prints the text and stops.
struct PluginError: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}
