import CLibBPFShim
import Synchronization
import SystemPackage

extension BPFObject {
  /// Says whether ``load()`` loads the program; it does unless told otherwise, or unless the
  /// section's name begins with "?".
  ///
  /// - Throws: ``BPFError/Kind/notFound``, or ``BPFError/Kind/wrongState`` after
  ///   ``load()``.
  public func setLoads(_ loads: Bool, program name: String) throws(BPFError) {
    let attempt = "set whether program '\(name)' is loaded"
    try state.withLock { (state) throws(BPFError) in
      let pointer = try state.opened(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      let code = mms_program_set_autoload(program, loads)
      guard code == 0 else {
        throw BPFError(code: code, attempt: attempt, on: describedName)
      }
    }
  }

  /// Attaches every loaded program whose section says where to.
  ///
  /// Programs without such a place, like `SEC("syscall")`, are passed over. If one fails, those
  /// attached before it are detached again.
  ///
  /// - Returns: The links, in order of declaration; a program is detached when its link goes away.
  /// - Throws: ``BPFError/Kind/wrongState`` before ``load()``, or the kernel's error.
  public func attach() throws(BPFError) -> [BPFLink] {
    let attempt = "attach the programs"
    let made = try state.withLock { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      var made: [(program: String, link: OpaquePointer)] = []
      do throws(BPFError) {
        var next = mms_object_next_program(pointer, nil)
        while let program = next {
          if mms_program_autoload(program), mms_program_autoattach(program),
            let link = try attachOne(program)
          {
            made.append((String(cString: mms_program_name(program)), link))
          }
          next = mms_object_next_program(pointer, program)
        }
      } catch {
        for (_, link) in made.reversed() { mms_link_destroy(link) }
        throw error
      }
      return made.map { (program: $0.program, id: state.keep($0.link)) }
    }
    return made.map { BPFLink(object: self, program: $0.program, id: $0.id) }
  }

  /// Attaches one program to where its section says.
  ///
  /// - Parameter name: The program's name: that of its C function.
  /// - Returns: The link; the program is detached when it goes away.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/invalidArgument`` if the section
  ///   does not say where to, ``BPFError/Kind/wrongState`` before ``load()``, or the kernel's
  ///   error.
  public func attach(program name: String) throws(BPFError) -> BPFLink {
    let attempt = "attach program '\(name)'"
    let id = try state.withLock { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      guard mms_program_autoload(program) else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it was left out with setLoads(false, program:)"
        )
      }
      guard let link = try attachOne(program) else {
        throw BPFError(
          .invalidArgument,
          attempt: attempt,
          on: describedName,
          advice: "its section '\(String(cString: mms_program_section(program)))' does not say "
            + "where to; a section such as \"tp_btf/sys_enter\" does"
        )
      }
      return state.keep(link)
    }
    return BPFLink(object: self, program: name, id: id)
  }

  func detach(_ id: Int) {
    state.withLock { state in
      if let link = state.links.removeValue(forKey: id) { mms_link_destroy(link) }
    }
  }

  /// A descriptor of a loaded program, which the caller closes.
  func duplicateProgram(_ name: String) throws(BPFError) -> CInt {
    let attempt = "find program '\(name)'"
    return try state.withLock { (state) throws(BPFError) in
      let pointer = try state.loaded(for: attempt, on: describedName)
      let program = try findProgram(name, in: pointer, attempt: attempt)
      return try duplicate(mms_program_fd(program), attempt: attempt, on: describedName)
    }
  }

  /// Attaches the program; returns nil if its section names no place to attach it to.
  private func attachOne(_ program: OpaquePointer) throws(BPFError) -> OpaquePointer? {
    var link: OpaquePointer?
    var warnings = ""
    let code = capturingWarnings(&warnings) { mms_program_attach(program, &link) }
    if code == 0, let link { return link }
    // libbpf says this, and prints nothing, when the section names no place; the kernel's own
    // refusals come with a warning.
    if code == -Errno.notSupportedOnSocket.rawValue, warnings.isEmpty { return nil }
    throw BPFError(
      code: code,
      attempt: "attach program '\(String(cString: mms_program_name(program)))'",
      on: describedName,
      details: warnings
    )
  }

  private func findProgram(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> OpaquePointer {
    guard let program = mms_object_find_program(pointer, name) else {
      throw BPFError(
        .notFound,
        attempt: attempt,
        on: describedName,
        advice: programNames.isEmpty
          ? "the object has no program"
          : "its programs are: " + programNames.joined(separator: ", ")
      )
    }
    return program
  }
}

extension BPFObjectState {
  fileprivate mutating func keep(_ link: OpaquePointer) -> Int {
    let id = nextLink
    nextLink += 1
    links[id] = link
    return id
  }
}
