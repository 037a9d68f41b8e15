// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// `mmapstorage doctor` with missing features and rights.
@Suite(.liveKernel, .serialized) struct DoctorTests {
  /// A check, and the beginning of its result.
  typealias Expected = (check: String, result: String, detail: String)

  struct Restriction: Sendable, CustomTestStringConvertible {
    var testDescription: String
    /// Runs the tool.
    var command: [String]
    var checks: [Expected]
    var status: Int32?

    /// With only these capabilities.
    init(capabilities: String, _ checks: [Expected], status: Int32) {
      testDescription = capabilities
      let rights = "-all,\(capabilities)"
      command = [
        "/usr/bin/setpriv", "--reuid=65533", "--regid=65533", "--clear-groups",
        "--inh-caps=\(rights)", "--ambient-caps=\(rights)", "--bounding-set=\(rights)",
        "--no-new-privs",
      ]
      self.checks = checks
      self.status = status
    }

    /// After shell commands in a new mount namespace.
    init(_ script: String, _ checks: [Expected]) {
      testDescription = script
      command = [
        "/usr/bin/unshare", "--mount", "--propagation", "private", "/bin/sh", "-ec",
        script + "\nexec \"$0\" \"$@\"",
      ]
      self.checks = checks
    }

    /// In a user namespace.
    init(userNamespace checks: [Expected]) {
      testDescription = "a user namespace"
      command = ["/usr/bin/unshare", "--user", "--map-root-user"]
      self.checks = checks
      status = 1
    }
  }

  private static let lockdown = "mount -t tmpfs tmpfs /sys/kernel/security; echo "
  private static let modes = " > /sys/kernel/security/lockdown"
  private static let unprivileged =
    "mount --bind $file /proc/sys/kernel/unprivileged_bpf_disabled; rm $file"

  @Test(arguments: [
    Restriction(
      capabilities: "+bpf",
      [
        ("capabilities", "missing", "not CAP_PERFMON, CAP_SYS_ADMIN; "),
        ("task storage", "ok", "works"),
      ],
      status: 2
    ),
    Restriction(
      capabilities: "+bpf,+perfmon",
      [("capabilities", "ok", "not CAP_SYS_ADMIN; "), ("lookups by program", "ok", "works")],
      status: 0
    ),
    Restriction(
      capabilities: "+perfmon",
      [
        ("capabilities", "missing", "not CAP_BPF, CAP_SYS_ADMIN; "),
        ("task storage", "denied", "denied: "),
      ],
      status: 1
    ),
    Restriction(userNamespace: [("user namespace", "missing", "not the initial one")]),
    Restriction(
      "mount -t tmpfs tmpfs /sys/kernel/btf",
      [("kernel's type information", "missing", "no /sys/kernel/btf/vmlinux")]
    ),
    Restriction(
      "mount -t tmpfs tmpfs /sys/fs/bpf",
      [("BPF file system", "missing", "not mounted")]
    ),
    Restriction(
      lockdown + "'none integrity [confidentiality]'" + modes,
      [("lockdown", "missing", "confidentiality: ")]
    ),
    Restriction(
      lockdown + "'none [integrity] confidentiality'" + modes,
      [("lockdown", "ok", "none [integrity] confidentiality")]
    ),
    Restriction(
      "file=$(mktemp); echo 0 > $file; \(unprivileged)",
      [("unprivileged BPF", "note", "allowed")]
    ),
    Restriction(
      "file=$(mktemp); echo 2 > $file; \(unprivileged)",
      [("unprivileged BPF", "note", "disabled")]
    ),
  ])
  func restrictions(_ restriction: Restriction) throws {
    let run = try ToolRun(["doctor", "--json"], under: restriction.command)
    let document = try #require(try run.json() as? [String: Any], "\(run)")
    let checks = try #require(document["checks"] as? [[String: String]])
    if let status = restriction.status { #expect(run.status == status, "\(run)") }
    for (name, result, detail) in restriction.checks {
      let check = try #require(checks.first { $0["name"] == name }, "\(name): \(checks)")
      #expect(check["result"] == result && check["detail"]?.hasPrefix(detail) == true, "\(check)")
    }
  }

  @Test func whatRestrictsNothingIsNotMentioned() throws {
    let run = try ToolRun(["doctor"])
    #expect(!run.output.contains("user namespace"), "\(run)")
    let isFiltered = try String(contentsOfFile: "/proc/self/status", encoding: .utf8)
      .contains("Seccomp:\t2")
    #expect(run.output.contains("seccomp filter") == isFiltered, "\(run)")
  }

  @Test func marksAndSummaryOfRestrictions() throws {
    let restriction = Restriction(capabilities: "+bpf", [], status: 2)
    let run = try ToolRun(["doctor"], under: restriction.command)
    let lines = run.output.split(separator: "\n")
    #expect(lines.contains { $0.hasPrefix("-  capabilities") }, "\(run)")
    let lookups = lines.first { $0.hasPrefix("-  lookups by program") }
    #expect(lookups?.contains("CAP_PERFMON") == true, "\(run)")
    #expect(lines.contains { $0.hasPrefix("+  task storage") }, "\(run)")
    #expect(lines.last == "Task storage works with the restrictions above.", "\(run)")
  }

  @Test func aFilterOfSystemCallsIsMentioned() async {
    await #expect(processExitsWith: .success) {
      typealias Control = @convention(c) (CInt, UInt, UInt, UInt, UInt) -> CInt
      let prctl = unsafeBitCast(try #require(dlsym(nil, "prctl")), to: Control.self)
      try #require(prctl(38, 1, 0, 0, 0) == 0)  // PR_SET_NO_NEW_PRIVS
      // struct sock_filter: allow all calls.
      var filter: UInt64 = 0x06 | 0x7fff_0000 << 32
      let result = withUnsafeMutablePointer(to: &filter) { filter in
        // struct sock_fprog
        var program = (UInt64(1), UInt64(UInt(bitPattern: filter)))
        return withUnsafeMutablePointer(to: &program) {
          prctl(22, 2, UInt(bitPattern: $0), 0, 0)  // PR_SET_SECCOMP, SECCOMP_MODE_FILTER
        }
      }
      try #require(result == 0)
      let run = try ToolRun(["doctor"])
      #expect(run.output.contains("seccomp filter") && run.output.contains("active; "), "\(run)")
    }
  }
}
