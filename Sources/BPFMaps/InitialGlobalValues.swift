// SPDX-License-Identifier: Apache-2.0
public import LibBPF
public import MapValues

/// The initial values of global variables of an object, for code that `BPFPlugin` generates.
///
/// The first error is kept for ``check()``, so that setting a variable does not throw.
@_spi(Generated)
public struct InitialGlobalValues: ~Copyable {
  private let object: BPFObject
  private var failure: BPFError?

  /// Creates access to an object that is not loaded.
  public init(_ object: BPFObject) { self.object = object }

  /// Reads a variable; zero after an error.
  public func load<Field: MapField>(_ type: Field.Type, _ name: String) -> Field {
    var value: Field?
    try? object.withGlobal(name, attempt: "read global '\(name)'", forWriting: false) { variable in
      if variable.size == MemoryLayout<Field>.size { value = variable.load(as: type) }
    }
    return value
      ?? loadWhole(type, from: Array(repeating: 0, count: MemoryLayout<Field>.size))
  }

  /// Sets a variable.
  public mutating func store<Field: MapField>(_ value: Field, _ name: String) {
    let attempt = "set global '\(name)'"
    do throws(BPFError) {
      try object.withGlobal(name, attempt: attempt, forWriting: true) {
        (variable) throws(BPFError) in
        guard variable.size == MemoryLayout<Field>.size else {
          throw BPFError(
            .layoutMismatch,
            attempt: attempt,
            on: "object '\(object.name)'",
            advice:
              "it has \(variable.size) bytes, and Swift type '\(Field.self)' has "
              + "\(MemoryLayout<Field>.size)"
          )
        }
        variable.store(value)
      }
    } catch {
      if failure == nil { failure = error }
    }
  }

  /// Throws the first error of setting a variable.
  public func check() throws(BPFError) {
    if let failure { throw failure }
  }
}
