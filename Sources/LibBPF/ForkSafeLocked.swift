// SPDX-License-Identifier: Apache-2.0

/// A value behind a ``ForkSafeLock``.
package final class ForkSafeLocked<Value: Sendable>: Sendable {
  private let lock = ForkSafeLock()
  private nonisolated(unsafe) var value: Value

  package init(_ value: Value) { self.value = value }

  package func withLock<Result, Failure: Error>(
    _ body: (inout Value) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try lock.withLock { () throws(Failure) in try body(&value) }
  }
}
