// SPDX-License-Identifier: Apache-2.0
public import LibBPF

/// A map of a loaded object, which need not have been created, for code that `BPFPlugin` generates.
///
/// May be used from any thread. Keeps the object alive.
@_spi(Generated)
public struct GeneratedMap<Access: Sendable>: Sendable {
  @usableFromInline
  let access: Access?
  private let name: String
  private let object: BPFObject

  /// Opens a map, unless it was not created because of `setAutocreate(false, map:)`.
  ///
  /// - Parameters:
  ///   - name: The map.
  ///   - object: The loaded object.
  ///   - open: Checks the map and returns its typed interface.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongState`` before loading, or the error of
  ///   `open`.
  public init(
    _ name: String,
    of object: BPFObject,
    _ open: (BPFMap) throws(BPFError) -> Access
  ) throws(BPFError) {
    self.name = name
    self.object = object
    access = try object.autocreate(map: name) ? open(object.map(name)) : nil
  }

  /// Returns the typed interface of the map.
  ///
  /// Cost: one comparison.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` if the map was not created.
  @inlinable
  public func get() throws(BPFError) -> Access {
    guard let access else { throw missing }
    return access
  }

  @usableFromInline
  var missing: BPFError {
    BPFError(
      .wrongState,
      attempt: "use map '\(name)'",
      on: "object '\(object.name)'",
      advice: "the map was not created, because of setAutocreate(false, map:)"
    )
  }
}
