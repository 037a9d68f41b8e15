/// How much a map's value may differ from the Swift type.
public enum LayoutPolicy: Sendable, Hashable {
  /// Both sides have the same fields and the same size.
  case exact
  /// The map may have more fields behind the last one that Swift knows, so that an old client
  /// survives a newer program. Everything that Swift knows must match.
  case compatible
}
