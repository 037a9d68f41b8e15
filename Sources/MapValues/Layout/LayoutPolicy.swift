// SPDX-License-Identifier: Apache-2.0
/// The differences that are allowed between a map's value and the Swift type.
public enum LayoutPolicy: Sendable, Hashable {
  /// Both sides have the same fields and the same size.
  case exact
  /// The map may have more fields after the last one of the Swift type, so that an older client works
  /// with a newer program. All fields of the Swift type must match.
  case compatible
}
