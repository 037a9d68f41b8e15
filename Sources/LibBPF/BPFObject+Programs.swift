// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import SystemPackage

extension BPFObject {
  /// Sets whether ``load()`` loads a program (`bpf_program__set_autoload`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after loading.
  public func setAutoload(_ autoload: Bool, program name: String) throws(BPFError) {
    let attempt = "set autoload of program '\(name)'"
    try withState { (state) throws(BPFError) in
      let pointer = try state.opened(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      let code = bpf_program__set_autoload(program, autoload)
      guard code == 0 else { throw BPFError(code: code, attempt: attempt, on: describedName) }
    }
  }

  /// Attaches each program whose section names a hook, such as `SEC("tp_btf/sys_enter")`.
  ///
  /// The programs run until ``detach()``, or until the object and everything taken from it is
  /// gone. Programs that are attached already stay attached. If one cannot be attached, none of
  /// those that this call attached stays so.
  ///
  /// - Parameter allowingNone: Whether it is no error that no program's section names a hook.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if no loaded program's section names a hook, a
  ///   system error of the hook, or ``BPFError/Kind/wrongState`` before loading.
  public func attach(allowingNone: Bool = false) throws(BPFError) {
    let attempt = "attach the programs"
    try withState { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      var made: [String: OpaquePointer] = [:]
      do throws(BPFError) {
        var next = bpf_object__next_program(pointer, nil)
        while let program = next {
          next = bpf_object__next_program(pointer, program)
          let name = String(cString: bpf_program__name(program))
          guard state.links[name] == nil, bpf_program__autoload(program),
            bpf_program__autoattach(program)
          else { continue }
          made[name] = try attachOne(program)
        }
      } catch {
        for link in made.values { bpf_link__destroy(link) }
        throw error
      }
      state.links.merge(made) { old, _ in old }
      guard allowingNone || !state.links.isEmpty else {
        throw BPFError(
          .invalidArgument,
          attempt: attempt,
          on: describedName,
          advice: programNames.isEmpty
            ? "the object has no program"
            : "no loaded program has a section that names a hook, such as "
              + "SEC(\"tp_btf/sys_enter\")"
        )
      }
    }
  }

  /// Attaches one program; does nothing if it is attached already.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/invalidArgument`` if its section names no
  ///   hook, a system error of the hook, or ``BPFError/Kind/wrongState`` if it is not loaded.
  public func attach(program name: String) throws(BPFError) {
    let attempt = "attach program '\(name)'"
    try withState { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      guard bpf_program__autoload(program) else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it was not loaded, because of setAutoload(false, program:)"
        )
      }
      guard state.links[name] == nil else { return }
      guard let link = try attachOne(program) else {
        throw BPFError(
          .invalidArgument,
          attempt: attempt,
          on: describedName,
          advice: "its section '\(String(cString: bpf_program__section_name(program)))' names no "
            + "hook; one such as SEC(\"tp_btf/sys_enter\") does"
        )
      }
      state.links[name] = link
    }
  }

  /// Detaches all programs. Does nothing if none is attached, or after ``close()``.
  public func detach() {
    withState { $0.detachAll() }
  }

  /// Detaches one program; does nothing if it is not attached.
  ///
  /// - Throws: ``BPFError/Kind/notFound`` if the object has no such program.
  public func detach(program name: String) throws(BPFError) {
    try withState { (state) throws(BPFError) in
      guard programNames.contains(name) else {
        throw noProgram(name, attempt: "detach program '\(name)'")
      }
      if let link = state.links.removeValue(forKey: name) { bpf_link__destroy(link) }
      for link in state.clockLinks.removeValue(forKey: name) ?? [] { bpf_link__destroy(link) }
    }
  }

  /// The names of the programs that are attached, sorted. Those that stay attached because of a pinned
  /// link are included.
  public var attachedPrograms: [String] {
    withState {
      $0.programsAttachedByPins.union($0.links.keys).union($0.clockLinks.keys).sorted()
    }
  }

  /// A loaded program, to run it or to hand its descriptor on.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` if it is not loaded.
  public func program(_ name: String) throws(BPFError) -> BPFProgram {
    let attempt = "find program '\(name)'"
    return try withState { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      let descriptor = bpf_program__fd(program)
      guard descriptor >= 0 else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it was not loaded, because of setAutoload(false, program:)"
        )
      }
      return BPFProgram(
        name: name,
        descriptor: try copyDescriptor(descriptor, attempt: attempt, on: describedName)
      )
    }
  }

  /// Attaches a program; returns `nil` if its section names no hook.
  func attachOne(_ program: OpaquePointer) throws(BPFError) -> OpaquePointer? {
    var warnings = ""
    var code: CInt = 0
    let link = capturingWarnings(&warnings) {
      let link = bpf_program__attach(program)
      code = resultCode(link)
      return link
    }
    if let link { return link }
    // libbpf returns this without a warning if the section names no hook; the kernel's own
    // refusals come with one.
    if code == -Errno.notSupportedOnSocket.rawValue, warnings.isEmpty { return nil }
    let section = String(cString: bpf_program__section_name(program))
    let advice: String? =
      switch Errno(rawValue: -code) {
      case .noSuchFileOrDirectory, .noSuchProcess, .noSuchAddressOrDevice:
        "the hook in its section '\(section)' does not exist on this kernel or in this file; check "
          + "the name (tracepoints: /sys/kernel/tracing/available_events)"
      default: nil
      }
    throw BPFError(
      advice == nil ? nil : .notFound,
      code: code,
      attempt: "attach program '\(String(cString: bpf_program__name(program)))'",
      on: describedName,
      advice: advice,
      details: warnings
    )
  }

  func findProgram(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> OpaquePointer {
    guard let program = bpf_object__find_program_by_name(pointer, name) else {
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
