// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
@_spi(Tools) import MmapStorage
import SystemPackage

struct Doctor: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Tests which features this kernel and this process support, by using each.",
    discussion: """
      Exit status: 0 if programs can be loaded and threads access their values directly; 2 if values can be \
      accessed with restrictions; 1 if this process cannot create task storage.
      """
  )

  @Flag(help: "Print JSON.")
  var json = false

  func run() throws {
    let probes = KernelProbe.all()
    let checks = Environment.checks() + probes.map(Check.init)
    let works = Set(probes.filter { $0.state == .available }.map(\.name))
    let canLoad = works.contains("lookups by program")
    let isDirect = !works.isDisjoint(with: ["backend .mapped", "backend .userPage"])
    let status: Int32 = !works.contains("task storage") ? 1 : canLoad && isDirect ? 0 : 2
    if json {
      try printLine(
        JSON.object([
          "status": .int(status),
          "checks": .array(
            checks.map {
              .object([
                "name": .string($0.name), "result": .string($0.result.rawValue),
                "detail": .string($0.detail),
              ])
            }
          ),
        ]).text()
      )
    } else {
      var table = TextTable(header: ["", "check", "result"])
      table.rows = checks.map { [$0.result.mark, $0.name, $0.detail] }
      try table.print()
      try printLine("")
      try printLine(
        status == 0
          ? "Programs can be loaded, and threads access their values directly."
          : status == 2
            ? "Task storage works with the restrictions above."
            : "This process can create no task storage. It can use a map that it gets from a broker or "
              + "that is pinned for it."
      )
    }
    if status != 0 { throw ExitCode(status) }
  }
}

struct Check {
  enum Result: String {
    case ok, missing, denied, note

    var mark: String {
      switch self {
      case .ok: "+"
      case .missing, .denied: "-"
      case .note: " "
      }
    }
  }

  var name: String
  var result: Result
  var detail: String

  init(_ name: String, _ result: Result, _ detail: String) {
    self.name = name
    self.result = result
    self.detail = detail
  }

  init(_ probe: KernelProbe) {
    let result: Result =
      switch probe.state {
      case .available: .ok
      case .missing: .missing
      case .denied: .denied
      }
    self.init(
      probe.name,
      result,
      result == .ok ? "works" : "\(result.rawValue): \(probe.detail)"
    )
  }
}

/// Checks that read a state instead of trying a feature.
enum Environment {
  static func checks() -> [Check] {
    [kernel, capabilities, userNamespace, seccomp, unprivileged, btf, bpffs, lockdown]
      .compactMap(\.self)
  }

  private static var kernel: Check {
    var name = utsname()
    uname(&name)
    func text<T>(_ field: T) -> String {
      withUnsafeBytes(of: field) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
    }
    let machine = text(name.machine)
    let isSupported = ["x86_64", "aarch64"].contains(machine)
    return Check(
      "kernel",
      isSupported ? .ok : .missing,
      "Linux \(text(name.release)) on \(machine)"
        + (isSupported ? "" : "; the library supports x86_64 and aarch64")
    )
  }

  private static var capabilities: Check {
    let names = [(39, "CAP_BPF"), (38, "CAP_PERFMON"), (21, "CAP_SYS_ADMIN")]
    let line = read("/proc/self/status").split(separator: "\n").first { $0.hasPrefix("CapEff:") }
    let bits = line.flatMap { UInt64($0.dropFirst(7).drop { $0 == "\t" }, radix: 16) } ?? 0
    let held = names.filter { bits >> UInt64($0.0) & 1 == 1 }.map(\.1)
    let absent = names.map(\.1).filter { !held.contains($0) }
    return Check(
      "capabilities",
      bits >> 39 & 1 == 1 && bits >> 38 & 1 == 1 || bits >> 21 & 1 == 1 ? .ok : .missing,
      absent.isEmpty
        ? held.joined(separator: ", ")
        : "not \(absent.joined(separator: ", ")); loading programs needs CAP_BPF and CAP_PERFMON, "
          + "listing maps and reading their types CAP_SYS_ADMIN"
    )
  }

  private static var userNamespace: Check? {
    let words = read("/proc/self/uid_map").split { $0 == " " || $0 == "\n" }
    guard words.count >= 3, words[0...2] != ["0", "0", "4294967295"] else { return nil }
    return Check(
      "user namespace",
      .missing,
      "not the initial one, so that its capabilities do not count for BPF; run the container without "
        + "user namespace, as root"
    )
  }

  private static var seccomp: Check? {
    let line = read("/proc/self/status").split(separator: "\n").first { $0.hasPrefix("Seccomp:") }
    guard line?.last == "2" else { return nil }
    return Check(
      "seccomp filter",
      .note,
      "active; it has to allow bpf, and perf_event_open where programs are loaded"
    )
  }

  private static var unprivileged: Check? {
    let value = read("/proc/sys/kernel/unprivileged_bpf_disabled").prefix { $0 != "\n" }
    guard !value.isEmpty else { return nil }
    return Check(
      "unprivileged BPF",
      .note,
      value == "0"
        ? "allowed (kernel.unprivileged_bpf_disabled = 0)"
        : "disabled, as usual; maps that a process holds can be used since Linux 5.19"
    )
  }

  private static var btf: Check {
    let exists = access("/sys/kernel/btf/vmlinux", R_OK) == 0
    return Check(
      "kernel's type information",
      exists ? .ok : .missing,
      exists
        ? "/sys/kernel/btf/vmlinux"
        : "no /sys/kernel/btf/vmlinux; use a kernel with CONFIG_DEBUG_INFO_BTF, and mount sysfs"
    )
  }

  private static var bpffs: Check {
    let mountPoint = "/sys/fs/bpf"
    let isMounted = BPFFileSystem.contains(FilePath(mountPoint))
    return Check(
      "BPF file system",
      isMounted ? .ok : .missing,
      isMounted ? mountPoint : "not mounted; run 'mount -t bpf bpf /sys/fs/bpf'"
    )
  }

  private static var lockdown: Check {
    let modes = read("/sys/kernel/security/lockdown").prefix { $0 != "\n" }
    let isConfidential = modes.contains("[confidentiality]")
    return Check(
      "lockdown",
      isConfidential ? .missing : .ok,
      isConfidential
        ? "confidentiality: the kernel forbids programs to read its memory; boot with "
          + "lockdown=integrity or none"
        : modes.isEmpty ? "none" : String(modes)
    )
  }

  /// Reads a file of the kernel to its end; one call of read() returns about a page.
  static func read(_ path: FilePath) -> String {
    guard let file = try? FileDescriptor.open(path, .readOnly, options: .closeOnExec) else {
      return ""
    }
    defer { try? file.close() }
    var bytes: [UInt8] = []
    withUnsafeTemporaryAllocation(byteCount: 16 << 10, alignment: 1) { buffer in
      while let count = try? file.read(into: buffer), count > 0 {
        bytes += buffer.prefix(count)
      }
    }
    return String(decoding: bytes, as: UTF8.self)
  }
}
