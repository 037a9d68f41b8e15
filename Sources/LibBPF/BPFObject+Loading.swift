// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

extension BPFObject {
  /// Creates the maps and loads the programs into the kernel. Does not attach the programs.
  ///
  /// Takes milliseconds, most of them in the kernel's verifier. The thread handles its signals afterwards, except
  /// those that end the process.
  ///
  /// - Throws: ``BPFError/Kind/permissionDenied``, ``BPFError/Kind/loadFailed`` with the verifier's
  ///   log in ``BPFError/details``, ``BPFError/Kind/notFound`` if the kernel does not have the hook of a
  ///   section, ``BPFError/Kind/outOfResources``, ``BPFError/Kind/unsupported``, or
  ///   ``BPFError/Kind/wrongState`` if the object is already loaded. After a failure, the object can only
  ///   be closed.
  public func load() throws(BPFError) {
    try load(reusing: [:])
  }

  /// Loads the object with these maps, by name, instead of new ones.
  func load(reusing pinned: [String: BPFMap]) throws(BPFError) {
    let attempt = "load the object"
    try withState { (state) throws(BPFError) in
      _ = try state.opened(for: attempt, on: describedName)
    }
    if let preparation {
      try preparation.willLoad(self, reusing: pinned)
    } else {
      for (name, map) in pinned { try reuse(map, as: name) }
    }
    try withState { (state) throws(BPFError) in
      let object = try state.opened(for: attempt, on: describedName)
      let log = VerifierLog()
      var warnings = ""
      let code = capturingWarnings(&warnings) { object.load(log: log.memory) }
      guard code != 0 else {
        state.phase = .loaded
        return
      }
      state.phase = .failed
      throw loadError(
        code,
        attempt: attempt,
        needs: object.capabilities,
        warnings: warnings,
        log: log.text
      )
    }
  }

  private func loadError(
    _ code: CInt,
    attempt: String,
    needs capabilities: Set<Capability>,
    warnings: String,
    log: String
  ) -> BPFError {
    let program = warnings.split(whereSeparator: \.isNewline)
      .first { $0.contains("prog '") && !$0.contains("BEGIN PROG LOAD LOG") }?
      .split(separator: "'", omittingEmptySubsequences: false).dropFirst().first
    let subject = program.map { "program '\($0)' of \(describedName)" } ?? describedName

    if let errno = descriptorShortage(in: warnings) {
      return BPFError(errno: errno, attempt: attempt, on: describedName)
    }
    if code == -ENOMEM || code == -EMFILE || code == -ENFILE || code == -ENOSPC && log.isEmpty {
      return BPFError(.outOfResources, code: code, attempt: attempt, on: subject, details: warnings)
    }
    let target = missingTarget(in: warnings)
    if code == -EPERM, warnings.contains("failed to iterate BTF objects") {
      let missing = target.map { "tracepoint or function '\($0)'" } ?? "type that the program uses"
      return BPFError(
        .notFound,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "the kernel without its modules has no \(missing), and libbpf searches modules "
          + "only with CAP_SYS_ADMIN; check the name in the program",
        details: warnings
      )
    }
    let pinMessages = ["failed to auto-pin at", "couldn't retrieve pinned map"]
    if code == -EACCES, pinMessages.contains(where: warnings.contains) {
      return BPFError(
        code: code,
        attempt: attempt,
        on: subject,
        advice: "a map is declared with LIBBPF_PIN_BY_NAME; give this user access to its path "
          + "in libbpf's messages",
        details: warnings
      )
    }
    // The verifier never returns EPERM, and libbpf's warnings then name other causes.
    if code == -EPERM || code == -EACCES && log.isEmpty {
      return BPFError(
        errno: Errno(rawValue: -code),
        attempt: attempt,
        on: subject,
        rights: loadingAdvice(needs: capabilities, has: effectiveCapabilities())
      )
    }
    if code == -ESRCH, let target {
      return BPFError(
        .notFound,
        attempt: attempt,
        on: subject,
        advice: "this kernel has no tracepoint or function '\(target)'; check the name in the "
          + "program's section (tracepoints: /sys/kernel/tracing/available_events)",
        details: warnings
      )
    }
    if warnings.contains("failed to find valid kernel BTF") {
      return BPFError(
        .unsupported,
        attempt: attempt,
        on: subject,
        advice: "it needs the kernel's type information, /sys/kernel/btf/vmlinux; use a kernel "
          + "with CONFIG_DEBUG_INFO_BTF, and mount sysfs",
        details: warnings
      )
    }
    let verifier: String =
      if needsPerfmon.contains(where: log.contains),
        effectiveCapabilities()?.contains(.perfmon) == false
      {
        "this process does not have CAP_PERFMON, without which the verifier forbids some helpers and uses of "
          + "pointers; see the end of its log"
      } else {
        verifierAdvice.first { $0.messages.contains(where: log.contains) }?.advice
          ?? "the kernel's verifier rejected the program; see the end of its log"
      }
    return BPFError(
      .loadFailed,
      code: code,
      attempt: attempt,
      on: subject,
      advice: log.isEmpty ? "libbpf's messages name the step that failed" : verifier,
      details: [warnings, log].filter { !$0.isEmpty }.joined(separator: "\n")
    )
  }

  private func effectiveCapabilities() -> Set<Capability>? {
    Capability.effective(inUserNamespace: isInUserNamespace(uidMap: readText("/proc/self/uid_map")))
  }

  /// `EMFILE` or `ENFILE` if libbpf's messages contain it, or if no descriptor can be opened now: libbpf creates a
  /// map again without type information after each error, and reports the second one.
  private func descriptorShortage(in warnings: String) -> Errno? {
    // libbpf 1.6 and later write the name.
    if ["(-24)", "-EMFILE"].contains(where: warnings.contains) { return .tooManyOpenFiles }
    if ["(-23)", "-ENFILE"].contains(where: warnings.contains) { return .tooManyOpenFilesInSystem }
    do {
      try FileDescriptor.open(FilePath("/"), .readOnly, options: .closeOnExec).close()
      return nil
    } catch {
      return (error as? Errno).flatMap { $0.isShortageOfDescriptors ? $0 : nil }
    }
  }

  /// The name in libbpf's "failed to find kernel BTF type ID of 'name'".
  private func missingTarget(in warnings: String) -> Substring? {
    warnings.split(whereSeparator: \.isNewline)
      .first { $0.contains("failed to find kernel BTF type ID of '") }?
      .split(separator: "'", omittingEmptySubsequences: false).dropLast().last
  }
}
