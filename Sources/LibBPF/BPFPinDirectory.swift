// SPDX-License-Identifier: Apache-2.0
import Glibc
public import SystemPackage

/// The pins of ``BPFObject/loadAndAttach(pinnedIn:attributes:ifDifferent:)``: their paths, and whether
/// the programs are attached.
public struct BPFPinDirectory: Sendable, Hashable {
  /// The directory.
  public let path: FilePath

  /// Creates a value for a directory. Does not access the file system.
  public init(_ path: FilePath) { self.path = path }

  /// The path of a map's pin.
  public func map(_ name: String) -> FilePath { maps.appending(Self.fileName(name)) }

  /// The path of a program's pin.
  package func program(_ name: String) -> FilePath { programs.appending(Self.fileName(name)) }

  /// The path of a link's pin, by the name of the program.
  public func link(_ name: String) -> FilePath { links.appending(Self.fileName(name)) }

  /// Returns the names of the programs whose links are pinned, sorted. These programs are attached, also if
  /// the process that attached them has ended.
  ///
  /// Use it in a client to detect that the programs are no longer attached. Costs about four system calls.
  ///
  /// - Throws: ``BPFError/Kind/notFound`` if there are no pins, ``BPFError/Kind/permissionDenied`` if
  ///   this user may not list the directory.
  public func attachedPrograms() throws(BPFError) -> [String] {
    try directoryEntries(links, attempt: "list the attached programs")
      .filter { !$0.hasPrefix(StagedPins.prefix) }.sorted()
  }

  var maps: FilePath { path.appending("maps") }
  var programs: FilePath { path.appending("programs") }
  var links: FilePath { path.appending("links") }
  var descriptions: FilePath { path.appending("descriptions") }

  static let mapPrefix = "map_"
  static let programPrefix = "program_"

  func description(ofMap name: String) -> FilePath {
    descriptions.appending(Self.mapPrefix + Self.fileName(name))
  }

  func description(ofProgram name: String) -> FilePath {
    descriptions.appending(Self.programPrefix + Self.fileName(name))
  }

  /// A BPF file system does not allow dots in names.
  private static func fileName(_ name: String) -> String {
    String(name.map { $0 == "." || $0 == "/" ? "_" : $0 })
  }

  /// Exists if this library created the directory.
  var mark: FilePath { descriptions.appending("created") }

  /// Creates the directory, acquires its lock as `lock(for:)` does, and creates the subdirectories.
  func createAndLock(
    _ attributes: BPFPinAttributes,
    for attempt: String
  ) throws(BPFError) -> CInt {
    // Other users enter it and do not open it, so they cannot acquire its lock.
    let read: FilePermissions = [.groupRead, .otherRead]
    let permissions = attributes.directoryPermissions
    // Other directories may contain other users' files.
    let isNew = try BPFFileSystem.createDirectory(
      path,
      permissions.subtracting(read),
      group: attributes.group,
      changesExisting: mark.linkTarget != nil
    )
    let lock = try lock(for: attempt)
    do throws(BPFError) {
      for directory in [maps, programs, links] {
        try BPFFileSystem.createDirectory(directory, permissions, group: attributes.group)
      }
      try BPFFileSystem.createDirectory(descriptions, .ownerReadWriteExecute, group: nil)
    } catch {
      releaseLock(lock)
      throw error
    }
    if isNew { _ = mark.createLink(to: "by this library") }
    return lock
  }

  /// Removes the pins of a program, which is detached if nothing else refers to the link.
  func removeProgram(_ name: String) {
    for path in [link(name), program(name), description(ofProgram: name)] { path.unlink() }
  }

  /// Removes the files that a killed process left.
  func removeTemporaryPins(_ attempt: String) throws(BPFError) {
    for directory in [maps, programs, links, descriptions] where directory.exists {
      for name in try directoryEntries(directory, attempt: attempt)
      where name.hasPrefix(StagedPins.prefix) {
        directory.appending(name).unlink()
      }
    }
  }

  /// Waits for other processes that use the directory. The caller passes the result to `releaseLock`.
  ///
  /// - Throws: ``BPFError/Kind/notFound`` if the directory was removed meanwhile, also if there is another one at its
  ///   path. That one's lock would have to be acquired.
  func lock(for attempt: String) throws(BPFError) -> CInt {
    let descriptor = try BPFFileSystem.openDirectory(path, attempt: attempt)
    while flock(descriptor, LOCK_EX) != 0 {
      let code = -errno
      if code == -EINTR { continue }
      closeDescriptor(descriptor)
      throw BPFError(code: code, attempt: attempt, on: "path '\(path)'")
    }
    guard path.isPath(of: descriptor) else {
      releaseLock(descriptor)
      throw BPFError(
        code: -ENOENT,
        attempt: attempt,
        on: "path '\(path)'",
        advice: "another process removed the directory meanwhile; try again"
      )
    }
    return descriptor
  }
}

/// The names in a directory, without "." and "..".
func directoryEntries(_ path: FilePath, attempt: String) throws(BPFError) -> [String] {
  do throws(Errno) {
    return try path.directoryEntries()
  } catch {
    throw BPFError(
      errno: error,
      attempt: attempt,
      on: "path '\(path)'",
      advice: "the directory does not exist, or this user may not read it"
    )
  }
}
