// SPDX-License-Identifier: Apache-2.0
public import LibBPF

/// The values that global variables have when an object is loaded, for code that `BPFPlugin` generates.
///
/// The first error is kept for ``check()``, so that setting a variable does not throw.
public struct InitialGlobalValues: ~Copyable {
  private let object: BPFObject
  private var failure: BPFError?

  /// Creates access to an object that is not loaded.
  public init(_ object: BPFObject) { self.object = object }

  /// Reads a variable; zero after an error.
  public func load<Field: MapField>(_ type: Field.Type, _ name: String) -> Field {
    var bytes = [UInt8](repeating: 0, count: MemoryLayout<Field>.size)
    try? object.withGlobal(name, attempt: "read global '\(name)'", forWriting: false) { variable in
      if unsafe variable.bytes.count == bytes.count { bytes = unsafe Array(variable.bytes) }
    }
    return unsafe bytes.withUnsafeBytes { bytes in
      unsafe withUnsafeTemporaryAllocation(
        byteCount: max(1, bytes.count),
        alignment: max(16, MemoryLayout<Field>.alignment)
      ) { copy in
        unsafe copy.copyMemory(from: bytes)
        let start = unsafe copy.baseAddress.unsafelyUnwrapped
        return unsafe FieldAddress(start).loadWhole(as: type)
      }
    }
  }

  /// Sets a variable.
  public mutating func store<Field: MapField>(_ value: Field, _ name: String) {
    let attempt = "set global '\(name)'"
    do throws(BPFError) {
      try object.withGlobal(name, attempt: attempt, forWriting: true) {
        (variable) throws(BPFError) in
        guard unsafe variable.bytes.count == MemoryLayout<Field>.size else {
          throw BPFError(
            .layoutMismatch,
            attempt: attempt,
            on: "object '\(object.name)'",
            advice:
              unsafe "it has \(variable.bytes.count) bytes, and Swift type '\(Field.self)' has "
              + "\(MemoryLayout<Field>.size)"
          )
        }
        unsafe withUnsafeBytes(of: value) { unsafe variable.bytes.copyMemory(from: $0) }
      }
    } catch {
      if failure == nil { failure = error }
    }
  }

  /// Throws the first error that setting a variable had.
  public func check() throws(BPFError) {
    if let failure { throw failure }
  }
}
