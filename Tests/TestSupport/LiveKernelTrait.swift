// SPDX-License-Identifier: Apache-2.0
package import Testing

/// Runs a test only if a condition holds, and never at the same time as another test with this
/// trait.
///
/// Programs that tests attach run for the system calls of all threads of the process.
package struct LiveKernelTrait: TestTrait, SuiteTrait, TestScoping {
  @TaskLocal private static var isInTurn = false
  private static let turn = Turn()

  private let condition: ConditionTrait

  init(if condition: Bool, _ comment: Comment) {
    self.condition = .enabled(if: condition, comment)
  }

  package var isRecursive: Bool { true }

  package func prepare(for test: Test) async throws { try await condition.prepare(for: test) }

  package func provideScope(
    for test: Test,
    testCase: Test.Case?,
    performing function: @Sendable () async throws -> Void
  ) async throws {
    // A test may have several of these traits.
    if Self.isInTurn { return try await function() }
    await Self.turn.begin()
    do {
      try await Self.$isInTurn.withValue(true, operation: function)
    } catch {
      await Self.turn.end()
      throw error
    }
    await Self.turn.end()
  }
}

/// A mutex that a Swift task waits for without blocking a thread.
private actor Turn {
  private var isTaken = false
  private var waiting: [CheckedContinuation<Void, Never>] = []

  func begin() async {
    guard isTaken else { return isTaken = true }
    await withCheckedContinuation { waiting.append($0) }
  }

  func end() {
    if waiting.isEmpty { isTaken = false } else { waiting.removeFirst().resume() }
  }
}
