// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import TestSupport
import Testing

/// What loading needs, compared with the kernel, and what the errors name.
@Suite(.liveKernel) struct CapabilityTests {
  private static let bpf: UInt64 = 1 << 39
  private static let perfmon: UInt64 = 1 << 38
  private static let netAdmin: UInt64 = 1 << 12
  private static let sysAdmin: UInt64 = 1 << 21
  private static let names = [bpf: "CAP_BPF", perfmon: "CAP_PERFMON", netAdmin: "CAP_NET_ADMIN"]

  private static func loadingError(program: String?, map: String?, with rights: UInt64) throws
    -> BPFError?
  {
    let object = try BPFObject(.programTypes)
    if let program { try object.program(program).setAutoload(true) }
    if map == nil { try object.setAutocreate(false, map: "sockets") }
    try #require(test_set_effective_capabilities(rights) == 0)
    do {
      try object.load()
      return nil
    } catch {
      return error
    }
  }

  private static let needs: [(programs: [String], rights: UInt64)] = [
    (["socket", "syscall", "lookup"], bpf),
    (
      [
        "xdp", "classify", "message", "stream", "operations", "device", "control", "dissect",
        "tunnel",
      ],
      bpf | netAdmin
    ),
    (["raw", "typed", "probe", "event", "sample"], bpf | perfmon),
    ([""], bpf | netAdmin),  // the map of sockets
  ]

  @Test(arguments: needs.flatMap { row in row.programs.map { ($0, row.rights) } })
  func errorsNameWhatTheKernelChecks(name: String, needed: UInt64) async {
    await #expect(processExitsWith: .success) { [name, needed] in
      let program = name.isEmpty ? nil : name
      let all = [Self.bpf, Self.perfmon, Self.netAdmin]
      for subset in 0..<UInt64(8) {
        var rights: UInt64 = 0
        for (index, right) in all.enumerated() where subset >> UInt64(index) & 1 == 1 {
          rights |= right
        }
        let map = program == nil ? "sockets" : nil
        let error = try Self.loadingError(program: program, map: map, with: rights)
        #expect(
          (error == nil) == (needed & ~rights == 0),
          "\(rights): \(String(describing: error))"
        )
        guard let error else { continue }
        #expect(error.kind == .permissionDenied, "\(error)")
        for (capability, name) in Self.names {
          #expect(error.advice.contains(name) == (needed & capability != 0), "\(error)")
        }
        let missing = all.filter { needed & ~rights & $0 != 0 }.compactMap { Self.names[$0] }
        if needed & rights != 0 {
          let list = missing.joined(separator: " and ")
          #expect(error.advice.contains("this process does not have \(list)"), "\(error)")
        }
      }
      #expect(try Self.loadingError(program: program, map: nil, with: Self.sysAdmin) == nil)
    }
  }

  @Test func aPolicyForbidsWhatTheCapabilitiesAllow() async {
    await #expect(processExitsWith: .success) {
      try #require(test_forbid_call(CInt(SYS_bpf), EPERM) == 0)
      let error = try Self.loadingError(program: "typed", map: nil, with: Self.bpf | Self.perfmon)
      let advice = try #require(error?.advice)
      #expect(
        !advice.contains("needs") && advice.contains("a seccomp filter is active"),
        "\(advice)"
      )
    }
  }

  @Test func theVerifierAllowsLessWithoutPerfmon() async {
    await #expect(processExitsWith: .success) {
      let error = try Self.loadingError(program: "current", map: nil, with: Self.bpf)
      #expect(
        error?.kind == .loadFailed && error?.advice.contains("CAP_PERFMON") == true,
        "\(String(describing: error))"
      )
      #expect(
        try Self.loadingError(program: "current", map: nil, with: Self.bpf | Self.perfmon) == nil
      )
    }
  }

  @Test func anObjectNeedsTheCapabilitiesOfAllItsPrograms() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.programTypes)
      for program in ["xdp", "typed"] { try object.program(program).setAutoload(true) }
      try #require(test_set_effective_capabilities(Self.bpf) == 0)
      let error = #expect(throws: BPFError.self) { try object.load() }
      #expect(
        error?.advice.hasPrefix(
          "needs CAP_BPF, CAP_PERFMON and CAP_NET_ADMIN, or root; this process does not have "
            + "CAP_PERFMON and CAP_NET_ADMIN"
        ) == true,
        "\(String(describing: error))"
      )
    }
  }
}
