// SPDX-License-Identifier: Apache-2.0
import SystemPackage

extension BPFObject {
  /// Attaches each program whose section names a hook, such as `SEC("tp_btf/sys_enter")`.
  ///
  /// The programs stay attached until ``detach()`` is called, or until the object and everything taken from
  /// it are deallocated. Programs that are already attached stay attached. If a program cannot be attached,
  /// the programs that this call attached are detached.
  ///
  /// - Parameter allowingNone: Whether to succeed if no loaded program's section names a hook.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if no loaded program's section names a hook, a
  ///   system error of the hook, or ``BPFError/Kind/wrongState`` before loading.
  public func attach(allowingNone: Bool = false) throws(BPFError) {
    try attach { _ in true }
    guard allowingNone || !attachedPrograms.isEmpty else {
      throw BPFError(
        .invalidArgument,
        attempt: "attach the programs",
        on: describedName,
        advice: programNames.isEmpty
          ? "the object has no program"
          : "no loaded program has a section that names a hook, such as "
            + "SEC(\"tp_btf/sys_enter\")"
      )
    }
  }

  /// Attaches each program whose section names a hook and whose name matches. If one cannot be
  /// attached, detaches those that this call attached.
  ///
  /// - Returns: The names of the programs that it attached.
  @discardableResult
  func attach(where isWanted: (String) -> Bool) throws(BPFError) -> Set<String> {
    try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: "attach the programs", on: describedName)
      // Detached if this throws.
      var made: [String: [LibBPFLink]] = [:]
      for program in object.programs where program.autoload && program.autoattach {
        guard !state.isAttached(program.name), isWanted(program.name) else { continue }
        made[program.name] = try attachOne(program).map { [$0] }
      }
      state.links.merge(made) { old, _ in old }
      return Set(made.keys)
    }
  }

  /// Detaches all programs. Does nothing if none is attached, or after ``close()``. Programs whose links
  /// ``loadAndAttach(pinnedIn:attributes:ifDifferent:)`` pinned or found stay attached.
  public func detach() {
    withState { $0.links = [:] }
  }

  /// The names of the attached programs, sorted. Includes programs that a pinned link keeps attached, until the
  /// pin is removed, such as by ``BPFPinDirectory/remove()``.
  public var attachedPrograms: [String] {
    withState { state in
      Set(state.links.keys).union(state.pinnedLinks.keys).filter(state.isAttached).sorted()
    }
  }

  /// Returns a program, by the name of its function. Costs no system call.
  ///
  /// - Throws: ``BPFError/Kind/notFound``.
  public func program(_ name: String) throws(BPFError) -> Program {
    guard programNames.contains(name) else {
      throw noProgram(name, attempt: "find program '\(name)'")
    }
    return Program(name, of: self)
  }

  /// Attaches a program; returns `nil` if its section names no hook.
  func attachOne(_ program: LibBPFProgram) throws(BPFError) -> LibBPFLink? {
    var warnings = ""
    var code: CInt = 0
    if let link = program.attach(warnings: &warnings, code: &code) { return link }
    // libbpf returns this error without a warning if the section names no hook; errors of the
    // kernel come with a warning.
    if code == -Errno.notSupportedOnSocket.rawValue, warnings.isEmpty { return nil }
    let usesTracefs = ["failed to determine tracepoint", "failed to add legacy"]
      .contains(where: warnings.contains)
    let isUprobe = ["failed to create uprobe", "failed to create uretprobe"]
      .contains(where: warnings.contains)
    // libbpf's messages contain the form that it accepts.
    let isMalformed = ["invalid section", "invalid format of section", " specification"]
      .contains(where: warnings.contains)
    let (kind, advice): (BPFError.Kind?, String?) =
      switch Errno(rawValue: -code) {
      case .noSuchFileOrDirectory where usesTracefs && !hasTracefs:
        (
          .notFound,
          "libbpf needs tracefs to find the hook in its section '\(program.section)'; run "
            + "'mount -t tracefs tracefs /sys/kernel/tracing'"
        )
      case .noSuchProcess where warnings.contains("failed to find USDT support BPF maps"):
        (.invalidArgument, "the C file of a 'usdt' program must include <bpf/usdt.bpf.h>")
      case .badFileDescriptor where warnings.contains("ELF"):
        (
          .wrongType,
          "the file in its section '\(program.section)' is not an executable or a library"
        )
      case .noSuchFileOrDirectory, .noSuchProcess, .noSuchAddressOrDevice:
        (
          .notFound,
          "the hook in its section '\(program.section)' does not exist on this kernel or in this file; check "
            + "the name (tracepoints: /sys/kernel/tracing/available_events)"
        )
      case .permissionDenied where usesTracefs:
        (
          nil,
          "libbpf needs tracefs to find the hook in its section '\(program.section)'; give this user access "
            + "to /sys/kernel/tracing, or run as root"
        )
      case .permissionDenied where isUprobe, .notPermitted where isUprobe:
        (
          nil,
          "attaching to code of processes needs CAP_SYS_ADMIN, or root; some kernels need only CAP_PERFMON"
        )
      case .invalidArgument where isMalformed:
        (
          .invalidArgument,
          "libbpf cannot parse its section '\(program.section)'; see libbpf's message"
        )
      case .invalidArgument where warnings.isEmpty:
        (
          .invalidArgument,
          "libbpf cannot parse its section '\(program.section)'; write a trace event as "
            + "SEC(\"tracepoint/category/name\")"
        )
      default: (nil, nil)
      }
    throw BPFError(
      kind,
      code: code,
      attempt: "attach program '\(program.name)'",
      on: describedName,
      advice: advice,
      details: warnings
    )
  }

  /// Whether tracefs is mounted where libbpf searches it.
  private var hasTracefs: Bool {
    let directories: [FilePath] = ["/sys/kernel/tracing", "/sys/kernel/debug/tracing"]
    return directories.contains { $0.appending("events").exists }
  }

  func findProgram(
    _ name: String,
    in object: LibBPFObject,
    attempt: String
  ) throws(BPFError) -> LibBPFProgram {
    guard let program = object.program(named: name) else {
      throw noProgram(name, attempt: attempt)
    }
    return program
  }

  func noProgram(_ name: String, attempt: String) -> BPFError {
    BPFError(
      .notFound,
      attempt: attempt,
      on: describedName,
      advice: programNames.isEmpty
        ? "the object has no program" : "its programs are: " + programNames.joined(separator: ", ")
    )
  }
}
