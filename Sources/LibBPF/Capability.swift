// SPDX-License-Identifier: Apache-2.0
import CLibBPF

/// A capability that `bpf(2)` checks (`<linux/capability.h>`).
enum Capability: UInt64, CaseIterable {
  case bpf = 39
  case perfmon = 38
  case netAdmin = 12

  var name: String {
    switch self {
    case .bpf: "CAP_BPF"
    case .perfmon: "CAP_PERFMON"
    case .netAdmin: "CAP_NET_ADMIN"
    }
  }

  /// The capabilities that count in the calling thread; `nil` if they are unknown. CAP_SYS_ADMIN includes the others.
  static func effective(inUserNamespace: Bool) -> Set<Capability>? {
    if inUserNamespace { return [] }
    let line = readText("/proc/thread-self/status")?.split(separator: "\n")
      .first { $0.hasPrefix("CapEff:") }
    guard let digits = line?.split(whereSeparator: \.isWhitespace).last,
      let bits = UInt64(digits, radix: 16)
    else { return nil }
    let sysAdmin: UInt64 = 1 << 21
    return Set(allCases.filter { bits & (sysAdmin | 1 << $0.rawValue) != 0 })
  }

  /// The names of these capabilities, as in a sentence.
  static func list(_ capabilities: Set<Capability>) -> String {
    let names = allCases.filter(capabilities.contains).map(\.name)
    guard let last = names.last, names.count > 1 else { return names.first ?? "" }
    return names.dropLast().joined(separator: ", ") + " and " + last
  }
}

extension LibBPFProgram {
  /// The capabilities that loading it needs (`bpf_prog_load()` in `kernel/bpf/syscall.c`).
  var capabilities: Set<Capability> {
    switch type {
    // is_perfmon_prog_type()
    case BPF_PROG_TYPE_KPROBE, BPF_PROG_TYPE_TRACEPOINT, BPF_PROG_TYPE_PERF_EVENT,
      BPF_PROG_TYPE_RAW_TRACEPOINT, BPF_PROG_TYPE_RAW_TRACEPOINT_WRITABLE, BPF_PROG_TYPE_TRACING,
      BPF_PROG_TYPE_LSM, BPF_PROG_TYPE_STRUCT_OPS:
      [.bpf, .perfmon]
    // is_net_admin_prog_type()
    case BPF_PROG_TYPE_SCHED_CLS, BPF_PROG_TYPE_SCHED_ACT, BPF_PROG_TYPE_XDP, BPF_PROG_TYPE_LWT_IN,
      BPF_PROG_TYPE_LWT_OUT, BPF_PROG_TYPE_LWT_XMIT, BPF_PROG_TYPE_LWT_SEG6LOCAL,
      BPF_PROG_TYPE_SK_SKB, BPF_PROG_TYPE_SK_MSG, BPF_PROG_TYPE_FLOW_DISSECTOR,
      BPF_PROG_TYPE_CGROUP_DEVICE, BPF_PROG_TYPE_CGROUP_SOCK, BPF_PROG_TYPE_CGROUP_SOCK_ADDR,
      BPF_PROG_TYPE_CGROUP_SOCKOPT, BPF_PROG_TYPE_CGROUP_SYSCTL, BPF_PROG_TYPE_SOCK_OPS,
      bpfProgramTypeNetfilter:
      [.bpf, .netAdmin]
    case BPF_PROG_TYPE_EXT: [.bpf, .perfmon, .netAdmin]
    default: [.bpf]
    }
  }
}

extension LibBPFMap {
  /// The capabilities that creating it needs (`map_create()` in `kernel/bpf/syscall.c`).
  var capabilities: Set<Capability> {
    let network = [
      BPF_MAP_TYPE_SOCKMAP, BPF_MAP_TYPE_SOCKHASH, BPF_MAP_TYPE_DEVMAP, BPF_MAP_TYPE_DEVMAP_HASH,
      BPF_MAP_TYPE_XSKMAP,
    ]
    return network.contains { $0.rawValue == type.rawValue } ? [.bpf, .netAdmin] : [.bpf]
  }
}

extension LibBPFObject {
  /// The capabilities that loading it needs.
  var capabilities: Set<Capability> {
    programs.filter(\.autoload).map(\.capabilities)
      .reduce(
        maps.filter(\.autocreate).map(\.capabilities).reduce([.bpf]) { $0.union($1) }
      ) { $0.union($1) }
  }
}

/// `BPF_PROG_TYPE_NETFILTER`, which libbpf 1.1 does not have.
private let bpfProgramTypeNetfilter = bpf_prog_type(32)

/// What to do if loading fails for lack of rights.
func loadingAdvice(needs needed: Set<Capability>, has effective: Set<Capability>?) -> String {
  guard let effective else { return "needs \(Capability.list(needed)), or root" }
  let missing = needed.subtracting(effective)
  if missing.isEmpty {
    return
      "this process has \(Capability.list(needed)), so a security policy or the configuration of "
      + "this kernel forbids it"
  }
  return "needs \(Capability.list(needed)), or root"
    + (missing == needed ? "" : "; this process does not have \(Capability.list(missing))")
}
