// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
public import SystemPackage

/// A link: the attachment of a program to a hook.
///
/// The program stays attached while a descriptor or a pin of its link exists. A `BPFLink` owns a
/// descriptor, so it keeps the program attached, also when its ``BPFObject`` is closed. It may be used
/// from any thread.
public final class BPFLink: Sendable {
  /// The name of the program's function, or of the pin.
  public let name: String
  private let descriptor: CInt

  init(duplicating descriptor: CInt, name: String) throws(BPFError) {
    self.name = name
    self.descriptor = try copyDescriptor(
      descriptor,
      attempt: "open the link",
      on: "link '\(name)'"
    )
  }

  /// Opens a link that is pinned on a BPF file system (`BPF_OBJ_GET`). Needs read and write permission.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if it is not a link or not on a
  ///   BPF file system, ``BPFError/Kind/permissionDenied``, or another system error.
  public init(pinnedAt path: FilePath) throws(BPFError) {
    let subject = "path '\(path)'"
    let descriptor = try openPinned(
      path,
      readOnly: false,
      attempt: "open the pinned link",
      on: subject
    )
    do throws(BPFError) {
      _ = try inspectLink(descriptor, on: subject)
    } catch {
      closeDescriptor(descriptor)
      throw error
    }
    self.descriptor = descriptor
    name = path.lastComponent?.string ?? ""
  }

  deinit { closeDescriptor(descriptor) }

  /// Pins the link on a BPF file system (`BPF_OBJ_PIN`), so that the program stays attached when this
  /// process ends. Removing the pin detaches the program if nothing else refers to the link.
  ///
  /// - Parameters:
  ///   - path: A new file in an existing directory of a BPF file system.
  ///   - attributes: Who may open the pin.
  /// - Throws: As ``BPFMap/pin(at:attributes:)``; ``BPFError/Kind/unsupported`` for links that the
  ///   kernel cannot pin.
  public func pin(
    at path: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes()
  ) throws(BPFError) {
    try pinDescriptor(descriptor, at: path, attributes, attempt: "pin link '\(name)'")
  }

  /// Removes a pin of this link. The path is removed only if this link is pinned there.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if something else is pinned
  ///   there, or ``BPFError/Kind/permissionDenied``.
  public func unpin(at path: FilePath) throws(BPFError) {
    let attempt = "unpin link '\(name)'"
    let own = try info.id
    try removePin(at: path, attempt: attempt) { (descriptor) throws(BPFError) in
      let found = try inspectLink(descriptor, on: "path '\(path)'")
      guard found.id == own else {
        throw BPFError(
          .wrongType,
          attempt: attempt,
          on: "path '\(path)'",
          advice: "another link is pinned there (id \(found.id), this one has \(own))"
        )
      }
    }
  }

  /// The kernel's information about the link (`BPF_OBJ_GET_INFO_BY_FD`, Linux 5.8).
  package var info: BPFLinkInfo {
    get throws(BPFError) { try inspectLink(descriptor, on: "link '\(name)'") }
  }
}

/// The kernel's information about a link.
package struct BPFLinkInfo: Sendable, Hashable {
  /// The link's id, unique among the links that exist.
  package var id: UInt32
  /// `enum bpf_link_type` in `linux/bpf.h`.
  package var type: UInt32
  /// The id of the program.
  package var programID: UInt32
}

private func inspectLink(_ descriptor: CInt, on subject: String) throws(BPFError) -> BPFLinkInfo {
  let attempt = "read the link's info"
  if let target = descriptorTarget(descriptor), !target.hasPrefix("anon_inode:bpf_link"),
    !target.hasPrefix("anon_inode:bpf-link")
  {
    throw BPFError(
      .wrongType,
      attempt: attempt,
      on: subject,
      advice: "it is '\(target)', not a BPF link"
    )
  }
  let (code, info) = readLinkInfo(descriptor)
  guard code == 0 else { throw BPFError(code: code, attempt: attempt, on: subject) }
  return BPFLinkInfo(id: info.id, type: info.type, programID: info.prog_id)
}

extension BPFLink {
  /// Runs an iterator program to its end and returns its output (`BPF_ITER_CREATE`, `read(2)`).
  package func readIterator(for attempt: String) throws(BPFError) -> [UInt8] {
    let subject = "iterator '\(name)'"
    let file = bpf_iter_create(descriptor)
    guard file >= 0 else { throw BPFError(code: -errno, attempt: attempt, on: subject) }
    defer { closeDescriptor(file) }
    do throws(Errno) {
      // A read ends after a million tasks without output.
      return try FileDescriptor(rawValue: file).readToEnd(
        chunk: 64 << 10,
        retrying: [.interrupted, .resourceTemporarilyUnavailable]
      )
    } catch {
      throw BPFError(errno: error, attempt: attempt, on: subject)
    }
  }
}
