/// A program that is attached. It is detached when the link goes away.
///
/// A link keeps its object open, and may be used from any thread.
public final class BPFLink: Sendable {
  /// The program's name.
  public let program: String

  private let object: BPFObject
  private let id: Int

  init(object: BPFObject, program: String, id: Int) {
    self.object = object
    self.program = program
    self.id = id
  }

  deinit {
    detach()
  }

  /// Detaches the program. Doing it again does nothing; so does ``BPFObject/close()`` before it,
  /// which detaches as well.
  public func detach() {
    object.detach(id)
  }
}
