// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Threads that the kernel adds to the process.
@Suite(.liveKernel) struct KernelThreadTests {
  /// An io worker has the thread pointer of the thread that created it.
  @Test(.enabled(if: test_has_io_uring() == 1, "the process may not use io_uring"))
  func anIOWorkerIsInNoScope() async throws {
    var opened = try KernelThreads.open()
    opened.globals.expectedTGID = UInt64(getpid())
    let program = try opened.load()
    let values = try await program.maps.values.open()
    let (input, output) = try FileDescriptor.pipe()
    defer {
      try? input.close()
      try? output.close()
    }
    try values.withValue({ $0.id = 1 }) {
      let ring = test_read_in_kernel_thread(input.rawValue)
      try #require(ring >= 0)
      defer { close(ring) }
      try output.writeAll("x".utf8)
      while program.globals.switches == 0 { sched_yield() }
    }
    #expect(program.globals.found == 0)
  }
}
