// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import CLibBPFShim
import Glibc
public import SystemPackage

extension BPFMap {
  /// Pins the map on a BPF file system (`BPF_OBJ_PIN`), so that it outlives this process and others
  /// can open it.
  ///
  /// - Parameter path: A new file in an existing directory of a BPF file system. The file's name
  ///   must not contain a dot.
  /// - Throws: ``BPFError/Kind/invalidArgument`` if the path exists, its name contains a dot, or it
  ///   is not on a BPF file system; ``BPFError/Kind/notFound`` if the directory does not exist;
  ///   ``BPFError/Kind/permissionDenied``; or ``BPFError/Kind/wrongState`` after ``close()``.
  public func pin(at path: FilePath) throws(BPFError) {
    let attempt = "pin \(describedName)"
    try withDescriptor(for: attempt) { (descriptor) throws(BPFError) in
      try pinDescriptor(descriptor.rawValue, at: path, attempt: attempt)
    }
  }

  /// Removes a pin of this map.
  ///
  /// The path is removed only if this map is pinned there. A replacement between the check and the
  /// removal is not noticed.
  ///
  /// - Parameter path: The path of the pin.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/wrongType`` if another map is pinned
  ///   there, ``BPFError/Kind/permissionDenied``, or ``BPFError/Kind/wrongState`` after ``close()``.
  public func unpin(at path: FilePath) throws(BPFError) {
    let attempt = "unpin \(describedName)"
    let subject = "path '\(path)'"
    let own = try info.id
    let descriptor = try openPinned(path, readOnly: true, attempt: attempt, on: subject)
    defer { closeDescriptor(descriptor) }
    let found = try inspectMap(descriptor, attempt: attempt, on: subject)
    guard found.id == own else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: subject,
        advice: "another map is pinned there (id \(found.id), this one has \(own))"
      )
    }
    let code = path.withPlatformString { unlink($0) == 0 ? 0 : -errno }
    guard code == 0 else {
      throw BPFError(
        code: code,
        attempt: attempt,
        on: subject,
        advice: "this needs write permission for the directory"
      )
    }
  }
}

/// Pins what the descriptor refers to.
func pinDescriptor(
  _ descriptor: CInt,
  at path: FilePath,
  attempt: String
) throws(BPFError) {
  let subject = "path '\(path)'"
  let code = path.withPlatformString { bpf_obj_pin(descriptor, $0) }
  guard code != 0 else { return }
  let directory = path.removingLastComponent()
  let isOnBPFFS = isOnBPFFileSystem(directory.isEmpty ? "." : directory)
  let (kind, advice): (BPFError.Kind?, String) =
    switch Errno(rawValue: -code) {
    case .fileExists: (.invalidArgument, "unpin it first, or choose another path")
    case .noSuchFileOrDirectory where path.starts(with: "/sys/fs/bpf"):
      (nil, isOnBPFFileSystem("/sys/fs/bpf") ? "create the directory first" : mountAdvice)
    case .noSuchFileOrDirectory: (nil, "create the directory first")
    case .notPermitted where !isOnBPFFS: (.invalidArgument, mountAdvice)
    case .notPermitted where path.lastComponent?.string.contains(".") == true:
      (.invalidArgument, "the kernel reserves names that contain a dot; choose another name")
    default: (nil, "this needs write permission for the directory")
    }
  throw BPFError(kind, code: code, attempt: attempt, on: subject, advice: advice)
}

private let mountAdvice =
  "it is not on a BPF file system; mount one with 'mount -t bpf bpf /sys/fs/bpf', or choose a path "
  + "on one"

/// Opens what is pinned at the path (`BPF_OBJ_GET`).
func openPinned(
  _ path: FilePath,
  readOnly: Bool,
  attempt: String,
  on subject: String
) throws(BPFError) -> CInt {
  var options = bpf_obj_get_opts()
  options.sz = MemoryLayout<Int>.size + MemoryLayout<UInt32>.size  // up to file_flags
  options.file_flags = readOnly ? BPFMapFlags.rdonly.rawValue : 0
  let descriptor = path.withPlatformString { path in
    let descriptor = bpf_obj_get_opts(path, &options)
    return descriptor < 0 ? -errno : descriptor
  }
  guard descriptor < 0 else { return descriptor }
  let (kind, advice): (BPFError.Kind?, String?) =
    switch Errno(rawValue: -descriptor) {
    case .noSuchFileOrDirectory
    where path.starts(with: "/sys/fs/bpf") && !isOnBPFFileSystem("/sys/fs/bpf"):
      (nil, mountAdvice)
    case .noSuchFileOrDirectory: (nil, "nothing is pinned there")
    case .permissionDenied where !isOnBPFFileSystem(path):
      (.wrongType, "it is not on a BPF file system; pins are below one, such as /sys/fs/bpf")
    case .permissionDenied:
      (
        nil,
        readOnly
          ? "this user may not read it, or it is a directory"
          : "this user may not read and write it, or it is a directory; open it with readOnly: true "
            + "for lookups"
      )
    default: (nil, nil)
    }
  throw BPFError(kind, code: descriptor, attempt: attempt, on: subject, advice: advice)
}

private func isOnBPFFileSystem(_ path: FilePath) -> Bool {
  path.withPlatformString { mms_is_on_bpffs($0) } == 1
}
