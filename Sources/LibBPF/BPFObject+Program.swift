// SPDX-License-Identifier: Apache-2.0

extension BPFObject {
  /// A program of an object, by its name. Keeps the object alive. May be used from any thread.
  public struct Program: Sendable {
    /// The name of the program's function.
    public let name: String
    /// The object.
    public let object: BPFObject

    /// Creates access to the program `name`, which is looked up by each call.
    public init(_ name: String, of object: BPFObject) {
      self.name = name
      self.object = object
    }

    /// Whether the program is attached.
    public var isAttached: Bool { object.attachedPrograms.contains(name) }

    /// Attaches the program; see ``BPFObject/attach(program:)``.
    public func attach() throws(BPFError) { try object.attach(program: name) }

    /// Detaches the program; see ``BPFObject/detach(program:)``.
    public func detach() {
      // The only error is that there is no such program, which is then not attached.
      try? object.detach(program: name)
    }

    /// Sets whether ``BPFObject/load()`` loads the program; see ``BPFObject/setAutoload(_:program:)``.
    public func setAutoload(_ autoload: Bool) throws(BPFError) {
      try object.setAutoload(autoload, program: name)
    }

    /// The loaded program; see ``BPFObject/program(_:)``.
    public func loaded() throws(BPFError) -> BPFProgram { try object.program(name) }
  }
}
