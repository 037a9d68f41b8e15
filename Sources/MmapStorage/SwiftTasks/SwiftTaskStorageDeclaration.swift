// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

/// Storage of Swift tasks that a loaded object declares with `SWIFT_TASK_STORAGE`, for code that
/// `BPFPlugin` generates.
public struct SwiftTaskStorageDeclaration<Value: MapField>: Sendable {
  private let object: BPFObject
  private let name: String

  /// Creates access to the storage `name` of a loaded object.
  @_spi(Generated)
  public init(_ object: BPFObject, _ name: String) {
    self.object = object
    self.name = name
  }

  /// Opens the storage, as ``SwiftTaskStorage/init(_:_:policy:)`` does.
  ///
  /// - Throws: ``BPFError``, as that initializer.
  public func open() async throws(BPFError) -> SwiftTaskStorage<Value> {
    try await SwiftTaskStorage<Value>(object, name)
  }
}
