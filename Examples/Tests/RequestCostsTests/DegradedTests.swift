// SPDX-License-Identifier: Apache-2.0
import Glibc
import RequestCosts
import Testing

/// Kernels that lack a feature: servers continue, and log once what is missing. The tests run in
/// separate processes, which remove the feature from themselves.
@Suite(.liveKernel) struct DegradedTests {
  @Test func aKernelWithoutPerfEvents() async {
    await #expect(processExitsWith: .success) {
      try denyPerfEvents()
      try await serve { report, log in
        #expect(report.obstacle == nil)
        #expect(report.missing.filter { $0.hasPrefix("user time is not sampled") }.count == 1)
        expectCounts(of: 32 * 5, report)
        #expect(report.routes.first?.costs.userNanoseconds ?? 0 > 0)
        #expect(report.routes.first?.costs.samples == 0)
        #expect(log.filter { $0.contains("not sampled") }.count == 1)
      }
    }
  }

  @Test func aKernelWithoutTypeInformation() async {
    await #expect(processExitsWith: .success) {
      try unshareMounts()
      try #require(mount("/dev/null", "/sys/kernel/btf/vmlinux", nil, UInt(MS_BIND), nil) == 0)
      try await serve { report, log in
        #expect(report.obstacle?.contains("BTF") == true, "\(report.obstacle ?? "")")
        #expect(report.routes.first?.requests == 32)
        #expect(log.filter { $0.hasPrefix("Serving without kernel costs: ") }.count == 1)
        #expect(log.count == 1, "\(log)")
      }
    }
  }

  @Test func aProcessWithoutTraceEvents() async {
    await #expect(processExitsWith: .success) {
      try unshareMounts()
      for directory in ["/sys/kernel/tracing", "/sys/kernel/debug"]
      where access(directory, F_OK) == 0 {
        try #require(mount("tmpfs", directory, "tmpfs", 0, nil) == 0)
      }
      let source = try await CostsSource.loading(.events)
      try await serve(source) { report, log in
        expectCounts(of: 32 * 5, report)
        #expect(report.missing.filter { $0.contains("program is preempted") }.count == 1)
        #expect(log.filter { $0.contains("program is preempted") }.count == 1)
      }
    }
  }

  /// The error that seccomp filters of some containers return for unknown calls.
  @Test func aFilterThatKnowsNoBPF() async {
    await #expect(processExitsWith: .success) {
      #if arch(x86_64)
        try denySystemCall(321)
      #else
        try denySystemCall(280)
      #endif
      try await serve { report, log in
        #expect(
          report.obstacle?.contains("seccomp filter is active") == true,
          "\(report.obstacle ?? "")"
        )
        #expect(report.routes.first?.requests == 32)
      }
    }
  }

  @Test func aProcessWithoutRights() async {
    await #expect(processExitsWith: .success) {
      try #require(setuid(65534) == 0)
      try await serve { report, log in
        #expect(report.obstacle?.contains("CAP_BPF") == true, "\(report.obstacle ?? "")")
        #expect(report.routes.first?.requests == 32)
        #expect(log.count == 1, "\(log)")
      }
    }
  }
}

/// Without trace events, which need perf events, Linux 7 skips programs while one is preempted.
private func expectCounts(of made: UInt64, _ report: CostsReport) {
  let calls = report.routes.first?.costs.calls["process"] ?? 0
  let missed = report.missedRuns ?? 0
  #expect(calls <= made && calls + missed >= made, "\(calls) counted, \(missed) missed")
}

/// Serves 32 requests of a route that makes five system calls.
private func serve(
  _ source: CostsSource? = nil,
  _ check: @escaping @Sendable (CostsReport, [String]) throws -> Void
) async throws {
  let log = TestLog()
  try await TestServer.run(source, logger: log.logger) { server in
    try await server.load(["/calls/5"], requests: 32)
    try check(server.costs.report(), log.all)
  }
}

/// Makes later mounts visible to this process only.
private func unshareMounts() throws {
  let newMountNamespace: CInt = 0x20000
  let unshare = try function("unshare", as: (@convention(c) (CInt) -> CInt).self)
  try #require(unshare(newMountNamespace) == 0)
  try #require(mount(nil, "/", nil, UInt(MS_REC | MS_PRIVATE), nil) == 0)
}

/// Makes perf_event_open(2) fail in this process, as in a kernel without perf events.
private func denyPerfEvents() throws {
  #if arch(x86_64)
    try denySystemCall(298)
  #else
    try denySystemCall(241)
  #endif
}

/// Makes a system call fail in all threads of this process.
func denySystemCall(_ number: UInt64) throws {
  // struct sock_filter: the code, where to jump, and an operand in the upper half.
  var filter: [UInt64] = [
    0x20,  // load the number of the system call
    0x0100_0015 | number << 32,  // skip one instruction unless it is this
    0x06 | (0x5_0000 | UInt64(ENOSYS)) << 32,  // fail
    0x06 | 0x7fff_0000 << 32,  // allow
  ]
  typealias Prctl = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
  let prctl = try function("prctl", as: Prctl.self)
  try #require(prctl(38, 1, 0, 0, 0) == 0)  // PR_SET_NO_NEW_PRIVS
  typealias Call = @convention(c) (CLong, UInt, UInt, UInt) -> CLong
  let call = try function("syscall", as: Call.self)
  #if arch(x86_64)
    let seccomp = 317
  #else
    let seccomp = 277
  #endif
  let result = filter.withUnsafeMutableBytes { filter in
    // struct sock_fprog, for SECCOMP_SET_MODE_FILTER with SECCOMP_FILTER_FLAG_TSYNC
    var program = (UInt64(filter.count / 8), UInt64(UInt(bitPattern: filter.baseAddress)))
    return withUnsafeMutablePointer(to: &program) {
      call(seccomp, 1, 1, UInt(bitPattern: $0))
    }
  }
  try #require(result == 0)
}

/// A function of libc that Swift does not import.
func function<Function>(_ name: String, as type: Function.Type) throws -> Function {
  unsafeBitCast(try #require(dlsym(nil, name)), to: type)
}
