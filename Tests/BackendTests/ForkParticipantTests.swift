// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import LibBPF
import TestSupport
import Testing

/// Records the calls of the fork handlers.
private final class Recorder: ForkParticipant {
  let name: String
  let calls: Box<[String]>

  init(_ name: String, _ calls: Box<[String]>) {
    self.name = name
    self.calls = calls
  }

  func prepareForFork() { calls.change { $0.append("prepare \(name)") } }
  func resumeInParent() { calls.change { $0.append("parent \(name)") } }
  func resumeInChild() { calls.change { $0.append("child \(name)") } }
}

@Suite struct ForkParticipantTests {
  @Test func locksAreAcquiredByRankAndReleasedInReverse() async {
    await #expect(processExitsWith: .success) {
      let calls = Box<[String]>([])
      let positions = [7, -9, 3, -2, 40, 5]
      let recorders = positions.map { Recorder("\($0)", calls) }
      for (position, recorder) in zip(positions, recorders) {
        ForkParticipants.add(recorder, rank: ForkRank(position: position))
      }
      // Removed participants are not called.
      ForkParticipants.remove(recorders[2], rank: ForkRank(position: 3))
      calls.change { $0 = [] }

      let prepared = ["-9", "-2", "5", "7", "40"]
      let child = test_fork()
      if child == 0 {
        let expected =
          prepared.map { "prepare \($0)" } + prepared.reversed().map { "child \($0)" }
        _exit(calls.get() == expected ? 0 : 1)
      }
      var status: Int32 = 0
      #expect(waitpid(child, &status, 0) == child && status == 0)
      #expect(
        calls.get() == prepared.map { "prepare \($0)" } + prepared.reversed().map { "parent \($0)" }
      )
      withExtendedLifetime(recorders) {}
    }
  }
}
