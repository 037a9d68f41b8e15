// SPDX-License-Identifier: Apache-2.0
internal import Synchronization

/// Limits the log to ``limit`` lines a second, because any client can cause lines.
final class BrokerLog: Sendable {
  static let limit = 20

  private let write: @Sendable (String) -> Void
  private let state = Mutex((second: 0, count: 0))

  init(_ write: @escaping @Sendable (String) -> Void) { self.write = write }

  func callAsFunction(_ line: String) {
    let second = milliseconds() / 1000
    let (isWritten, omitted) = state.withLock { state in
      var omitted = 0
      if state.second != second {
        omitted = max(0, state.count - Self.limit)
        state = (second, 0)
      }
      state.count += 1
      return (state.count <= Self.limit, omitted)
    }
    if omitted > 0 { write("\(omitted) more lines were not logged") }
    if isWritten { write(line) }
  }
}
