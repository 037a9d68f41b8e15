// SPDX-License-Identifier: Apache-2.0
import CLibBPF
public import SystemPackage

extension BPFMap {
  /// Pins the map on a BPF file system (`BPF_OBJ_PIN`), so that it outlives this process and others
  /// can open it.
  ///
  /// Mounts the file system if the path is below /sys/fs/bpf and none is mounted there.
  ///
  /// - Parameters:
  ///   - path: A new file in an existing directory of a BPF file system. The file's name must not
  ///     contain a dot.
  ///   - attributes: Who may open the pin. A process that opens it for writing can change and remove the
  ///     values of all tasks.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if the path exists, its name contains a dot, or it
  ///   is not on a BPF file system; ``BPFError/Kind/notFound`` if the directory does not exist;
  ///   ``BPFError/Kind/permissionDenied``; or ``BPFError/Kind/wrongState`` after ``close()``.
  public func pin(
    at path: FilePath,
    attributes: BPFPinAttributes = BPFPinAttributes()
  ) throws(BPFError) {
    let attempt = "pin \(describedName)"
    try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      try pinDescriptor(descriptor.rawValue, at: path, attributes, attempt: attempt)
    }
  }

  /// Removes a pin of this map.
  ///
  /// The path is removed only if this map is pinned there. A replacement between the check and the
  /// removal is not detected.
  ///
  /// - Parameter path: The path of the pin.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if another map is pinned
  ///   there, ``BPFError/Kind/permissionDenied``, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func unpin(at path: FilePath) throws(BPFError) {
    let attempt = "unpin \(describedName)"
    let subject = "path '\(path)'"
    let own = try info.id
    try removePin(at: path, readOnly: true, attempt: attempt) { (descriptor) throws(BPFError) in
      let found = try inspectMap(descriptor, attempt: attempt, on: subject)
      guard found.id == own else {
        throw BPFError(
          .wrongType,
          attempt: attempt,
          on: subject,
          advice: "another map is pinned there (id \(found.id), this one has \(own))"
        )
      }
    }
  }
}
