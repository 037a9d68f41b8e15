// SPDX-License-Identifier: Apache-2.0
import CLibBPF
public import SystemPackage

/// A loaded BPF program. Owns a descriptor of the program. May be used from any thread.
public final class BPFProgram: Sendable {
  /// The name of the program's function. For a program that was opened by its id, the kernel's name, which has at
  /// most 15 bytes.
  public let name: String
  package let descriptor: CInt

  init(name: String, descriptor: CInt) {
    self.name = name
    self.descriptor = descriptor
  }

  deinit { closeDescriptor(descriptor) }

  /// Opens a program that is pinned on a BPF file system (`BPF_OBJ_GET`).
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/permissionDenied``,
  ///   ``BPFError/Kind/wrongType`` if it is not on a BPF file system. The type of the pinned object is
  ///   not checked.
  package init(pinnedAt path: FilePath) throws(BPFError) {
    name = path.lastComponent?.string ?? ""
    descriptor = try openPinned(
      path,
      readOnly: false,
      attempt: "open the pinned program",
      on: "path '\(path)'"
    )
  }

  /// Duplicates a program's descriptor. The caller still owns the original. The type of the
  /// descriptor is not checked.
  ///
  /// - Throws: ``BPFError/Kind/wrongState`` if it is closed, ``BPFError/Kind/outOfResources``.
  package init(duplicating descriptor: FileDescriptor) throws(BPFError) {
    name = ""
    self.descriptor = try copyDescriptor(
      descriptor.rawValue,
      attempt: "duplicate the program's descriptor",
      on: "descriptor \(descriptor.rawValue)"
    )
  }

  /// Pins the program on a BPF file system (`BPF_OBJ_PIN`), so that it outlives this process.
  ///
  /// - Parameters:
  ///   - path: A new file in an existing directory of a BPF file system.
  ///   - attributes: Who may open the pin.
  /// - Throws: As ``BPFMap/pin(at:attributes:)``.
  public func pin(
    at path: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes()
  ) throws(BPFError) {
    try pinDescriptor(descriptor, at: path, attributes, attempt: "pin program '\(name)'")
  }

  /// The kernel's information about the program (`BPF_OBJ_GET_INFO_BY_FD`). ``BPFProgramInfo/mapIDs`` needs
  /// CAP_BPF.
  ///
  /// - Throws: ``BPFError/Kind/wrongType`` if the descriptor is not a program's, or a system error.
  public var info: BPFProgramInfo {
    get throws(BPFError) { try inspectProgram(descriptor, on: "program '\(name)'") }
  }

  /// Returns the number of runs that the kernel skipped because another run of the program on the
  /// same processor was interrupted or preempted (Linux 5.12). Since Linux 7, programs of raw
  /// tracepoints can be preempted, so such misses occur on a busy machine. Returns 0 if the kernel
  /// does not count them.
  public func recursionMisses() -> UInt64 {
    let (code, info) = readProgramInfo(descriptor)
    return code == 0 ? info.recursion_misses : 0
  }
}
