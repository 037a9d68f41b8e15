// SPDX-License-Identifier: Apache-2.0
import Glibc
import LibBPF
import MmapStorage
import TestSupport
import Testing

@Suite struct OwnerTests {
  private let tick = 1_000_000_000 / UInt64(sysconf(CInt(_SC_CLK_TCK)))

  /// The owner word of a process that started `delay` nanoseconds after the start of its tick.
  private func owner(of process: pid_t, delay: UInt64) throws -> UInt64 {
    let text = try #require(readText("/proc/\(process)/stat"))
    let fields = text.drop { $0 != ")" }.split(separator: " ")
    let start = try #require(UInt64(fields[20])) &* tick &+ delay
    return UInt64(process) << 32 | UInt64(UInt32(truncatingIfNeeded: start))
  }

  @Test func aProcessThatExecutedManyProgramsIsAlive() throws {
    let owners = SwiftTaskOwners(own: try owner(of: getpid(), delay: 0))
    for executed: UInt64 in [0, 1, 500_000] {
      #expect(try !owners.hasExited(owner(of: getppid(), delay: tick - 1 + executed)))
    }
  }

  @Test func theProgramBeforeExecHasExited() throws {
    let own = try owner(of: getpid(), delay: 0)
    let owners = SwiftTaskOwners(own: own)
    #expect(!owners.hasExited(own))
    #expect(owners.hasExited(own - 1))
  }
}
