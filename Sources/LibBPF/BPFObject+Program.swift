// SPDX-License-Identifier: Apache-2.0

extension BPFObject {
  /// A program of an object; see ``BPFObject/program(_:)``. Keeps the object alive. May be used from any
  /// thread.
  public struct Program: Sendable {
    /// The name of the program's function.
    public let name: String
    /// The object.
    let object: BPFObject

    init(_ name: String, of object: BPFObject) {
      self.name = name
      self.object = object
    }

    /// Sets whether ``BPFObject/load()`` loads the program (`bpf_program__set_autoload`).
    ///
    /// - Throws: ``BPFError/Kind/wrongState`` after loading.
    public func setAutoload(_ autoload: Bool) throws(BPFError) {
      let attempt = "set autoload of program '\(name)'"
      try object.withState { (state) throws(BPFError) in
        let opened = try state.opened(for: attempt, on: object.describedName)
        let program = try object.findProgram(name, in: opened, attempt: attempt)
        let code = program.setAutoload(autoload)
        guard code == 0 else {
          throw BPFError(code: code, attempt: attempt, on: object.describedName)
        }
      }
    }

    /// Attaches the program to the hook that its section names. Does nothing if it is attached already.
    ///
    /// The program stays attached until ``detach()`` is called, or until the object and everything taken from
    /// it are deallocated.
    ///
    /// - Throws: ``BPFError/Kind/invalidArgument`` if its section names no hook, a system error of the
    ///   hook, or ``BPFError/Kind/wrongState`` if it is not loaded.
    public func attach() throws(BPFError) {
      let attempt = "attach program '\(name)'"
      try object.withState { (state) throws(BPFError) in
        let loaded = try state.loaded(for: attempt, on: object.describedName)
        let program = try object.findProgram(name, in: loaded, attempt: attempt)
        guard program.autoload else { throw notLoaded(attempt) }
        guard !state.isAttached(name) else { return }
        guard let link = try object.attachOne(program) else {
          throw BPFError(
            .invalidArgument,
            attempt: attempt,
            on: object.describedName,
            advice:
              "its section '\(program.section)' names no "
              + "hook; one such as SEC(\"tp_btf/sys_enter\") does"
          )
        }
        state.links[name] = [link]
      }
    }

    /// Detaches the program. Does nothing if it is not attached, or if a pinned link keeps it attached.
    public func detach() {
      object.withState { $0.links[name] = nil }
    }

    /// Whether the program is attached.
    package var isAttached: Bool { object.withState { $0.isAttached(name) } }

    /// Returns the loaded program, for example to pin it or to read its info.
    ///
    /// - Throws: ``BPFError/Kind/wrongState`` if it is not loaded.
    public func loaded() throws(BPFError) -> BPFProgram {
      let attempt = "find program '\(name)'"
      return try object.withState { (state) throws(BPFError) in
        let loaded = try state.loaded(for: attempt, on: object.describedName)
        let program = try object.findProgram(name, in: loaded, attempt: attempt)
        guard program.descriptor >= 0 else { throw notLoaded(attempt) }
        let descriptor = try copyDescriptor(
          program.descriptor,
          attempt: attempt,
          on: object.describedName
        )
        return BPFProgram(name: name, descriptor: descriptor)
      }
    }

    /// Returns the link of the attached program, for example to pin it. If an earlier process attached the
    /// program, opens its pinned link.
    ///
    /// - Throws: ``BPFError/Kind/notFound`` if the pin was removed, ``BPFError/Kind/wrongState`` if the
    ///   program is not attached, or ``BPFError/Kind/unsupported`` if it samples more than one processor.
    public func link() throws(BPFError) -> BPFLink {
      let attempt = "find the link of program '\(name)'"
      return try object.withState { (state) throws(BPFError) in
        _ = try state.loaded(for: attempt, on: object.describedName)
        guard let links = state.links[name], let link = links.first else {
          if let path = state.pinnedLinks[name] { return try BPFLink(pinnedAt: path) }
          throw BPFError(
            .wrongState,
            attempt: attempt,
            on: object.describedName,
            advice: "it is not attached; call attach() first"
          )
        }
        guard links.count == 1 else {
          throw BPFError(
            .unsupported,
            attempt: attempt,
            on: object.describedName,
            advice:
              "it samples \(links.count) processors with a link each; these cannot be pinned"
          )
        }
        return try BPFLink(duplicating: link.descriptor, name: name)
      }
    }

    func notLoaded(_ attempt: String) -> BPFError {
      BPFError(
        .wrongState,
        attempt: attempt,
        on: object.describedName,
        advice: "it was not loaded, because of setAutoload(false)"
      )
    }
  }
}
