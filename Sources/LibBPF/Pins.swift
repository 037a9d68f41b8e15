// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

/// Pins the object of the descriptor.
func pinDescriptor(
  _ descriptor: CInt,
  at path: FilePath,
  _ attributes: BPFPinAttributes,
  attempt: String
) throws(BPFError) {
  try BPFFileSystem.mountIfNeeded(for: path)
  let subject = "path '\(path)'"
  let code = path.pin(descriptor)
  guard code != 0 else {
    do throws(BPFError) {
      return try BPFFileSystem.apply(attributes, toPin: path, attempt: attempt)
    } catch {
      path.unlink()
      throw error
    }
  }
  let directory = path.removingLastComponent()
  let isOnBPFFS = BPFFileSystem.contains(directory.isEmpty ? "." : directory)
  let (kind, advice): (BPFError.Kind?, String) =
    switch Errno(rawValue: -code) {
    case .fileExists: (.invalidArgument, "unpin it first, or choose another path")
    case .noSuchFileOrDirectory: (nil, "create the directory first")
    case .notPermitted where BPFFileSystem.hasReservedName(path):
      (.invalidArgument, reservedNameAdvice)
    case .notPermitted where !isOnBPFFS: (.invalidArgument, mountAdvice)
    case .invalidArgument:
      (.unsupported, "the kernel cannot pin it (links of perf events: Linux 5.15)")
    default:
      (
        nil,
        BPFFileSystem.unreachableDirectory(of: path)
          ?? "this needs write permission for the directory"
      )
    }
  throw BPFError(kind, code: code, attempt: attempt, on: subject, advice: advice)
}

/// Opens the object that is pinned at the path (`BPF_OBJ_GET`).
func openPinned(
  _ path: FilePath,
  readOnly: Bool,
  attempt: String,
  on subject: String
) throws(BPFError) -> CInt {
  let descriptor = path.openPin(readOnly: readOnly)
  guard descriptor < 0 else { return descriptor }
  let (kind, advice): (BPFError.Kind?, String?) =
    switch Errno(rawValue: -descriptor) {
    case .noSuchFileOrDirectory
    where path.starts(with: BPFFileSystem.defaultMountPoint)
      && !BPFFileSystem.contains(BPFFileSystem.defaultMountPoint):
      (nil, mountAdvice)
    case .noSuchFileOrDirectory: (nil, "nothing is pinned there")
    case .notPermitted where BPFFileSystem.hasReservedName(path):
      (.invalidArgument, reservedNameAdvice)
    case .permissionDenied:
      if let advice = BPFFileSystem.unreachableDirectory(of: path) {
        (nil, advice)
      } else if !BPFFileSystem.contains(path) {
        (.wrongType, "it is not on a BPF file system; pins are below one, such as /sys/fs/bpf")
      } else {
        (
          nil,
          readOnly
            ? "this user may not read it, or it is a directory"
            : "this user may not read and write it, or it is a directory; a map can be opened with "
              + "readOnly: true for lookups"
        )
      }
    // Links can be opened only for reading and writing.
    case .invalidArgument where readOnly: (.wrongType, "it is a BPF link, not a map")
    case .notDirectory: (nil, BPFFileSystem.unreachableDirectory(of: path))
    default: (nil, nil)
    }
  throw BPFError(kind, code: descriptor, attempt: attempt, on: subject, advice: advice)
}

/// Removes the path unless `check` throws for a descriptor of the object that is pinned there.
func removePin(
  at path: FilePath,
  readOnly: Bool = false,
  attempt: String,
  check: (CInt) throws(BPFError) -> Void
) throws(BPFError) {
  let subject = "path '\(path)'"
  let descriptor = try openPinned(path, readOnly: readOnly, attempt: attempt, on: subject)
  defer { closeDescriptor(descriptor) }
  try check(descriptor)
  let code = path.unlink()
  guard code == 0 else {
    throw BPFError(
      code: code,
      attempt: attempt,
      on: subject,
      advice: "this needs write permission for the directory"
    )
  }
}
