// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import LibBPF
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Permissions in directories with pins.
@Suite(.liveKernel) struct PinDirectoryTests {
  @Test func theOwnerOfTheMapsOwnsNoDirectory() async throws {
    try await withBPFFileSystem { root in
      let user: UInt32 = 65534
      let directory = root.appending("service")
      try echo().loadAndAttach(
        pinnedIn: directory,
        attributes: BPFPinAttributes(owner: user)
      )
      let pins = BPFPinDirectory(directory)
      #expect(try mode(pins.map("echoes")) == [0o600, user, 0])
      #expect(try mode(pins.link("repeat")) == [0o600, 0, 0])
      #expect(try mode(directory) == [0o711, 0, 0])
      for name in ["maps", "programs", "links"] {
        #expect(try mode(directory.appending(name)) == [0o755, 0, 0])
      }
      let path = directory.string
      await #expect(processExitsWith: .success) { [path = path as String] in
        #expect(test_drop_rights() == 0)  // user and group 65534
        let pins = BPFPinDirectory(FilePath(path))
        let map = try BPFMap(pinnedAt: pins.map("echoes"))
        #expect(try map.info.isWritable)
        #expect(try pins.attachedPrograms() == ["repeat"])
        #expect(rename(path + "/maps", path + "/moved") == -1)
        #expect(unlink(pins.link("repeat").string) == -1)
        #expect(unlink(pins.map("echoes").string) == -1)
        // It must not acquire the lock either.
        #expect(open(path, O_RDONLY) == -1)
      }
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .reused)
    }
  }

  @Test func anotherOwnerOrGroupIsRevoked() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pin = BPFPinDirectory(directory).map("echoes")
      let attributes = BPFPinAttributes(owner: 65534, group: 65533)
      try echo().loadAndAttach(pinnedIn: directory, attributes: attributes)
      #expect(try mode(pin) == [0o600, 65534, 65533])
      #expect(try echo().loadAndAttach(pinnedIn: directory) == .reused)
      let own = [0o600, geteuid(), getegid()]
      #expect(try mode(pin) == own)
      #expect(try mode(directory.appending("maps")) == [0o700, geteuid(), getegid()])
    }
  }

  @Test(arguments: ["maps", "programs", "links", ""])
  func aSymbolicLinkToAnotherDirectoryIsRefused(_ name: String) throws {
    try withBPFFileSystem { root in
      let other = root.appending("other")
      try BPFFileSystem.createDirectory(other)
      #expect(chmod(other.string, 0o711) == 0)
      let object = try echo()
      try object.load()
      try object.map("echoes").pin(at: other.appending("kept"))
      let before = try mode(other)

      let directory = root.appending("service")
      let link = name.isEmpty ? directory : directory.appending(name)
      if !name.isEmpty { #expect(mkdir(directory.string, 0o700) == 0) }
      #expect(symlink(other.string, link.string) == 0)
      let error = try #require(throws: BPFError.self) {
        try echo().loadAndAttach(
          pinnedIn: directory,
          attributes: .group(65534),
          ifDifferent: .replace
        )
      }
      #expect(error.kind == .invalidArgument && error.object == "path '\(link)'", "\(error)")
      #expect(error.advice.contains("symbolic link"))
      #expect(try mode(other) == before)
      #expect(access(other.appending("kept").string, F_OK) == 0)
    }
  }

  @Test func aDirectoryOfAnotherUserIsRefused() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try BPFFileSystem.createDirectory(directory)
      #expect(chown(directory.string, 65534, 65534) == 0)
      let error = try #require(throws: BPFError.self) {
        try echo().loadAndAttach(pinnedIn: directory)
      }
      #expect(error.kind == .invalidArgument, "\(error)")
      #expect(error.advice.contains("belongs to user 65534"))
      #expect(try mode(directory) == [0o700, 65534, 65534])
    }
  }

  @Test func attributesAreNotAppliedThroughASymbolicLink() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let pin = BPFPinDirectory(directory).map("echoes")
      let other = root.appending("other")
      #expect(rename(pin.string, other.string) == 0 && symlink(other.string, pin.string) == 0)
      let error = try #require(throws: BPFError.self) {
        try echo().loadAndAttach(
          pinnedIn: directory,
          attributes: BPFPinAttributes(
            permissions: [.ownerReadWrite, .otherReadWrite],
            owner: 65534
          )
        )
      }
      #expect(error.advice.contains("symbolic link"), "\(error)")
      #expect(try mode(other) == [0o600, 0, 0])
    }
  }

  @Test func withoutProcTheErrorNamesIt() async {
    await #expect(processExitsWith: .success) {
      #expect(test_leave_bpffs() == 0)  // a mount namespace of its own
      try withBPFFileSystem { root in
        let object = try echo()
        try object.load()
        #expect(mount("none", "/proc", "tmpfs", 0, nil) == 0)
        // C libraries from 2.39 need no /proc on Linux 6.6 and later.
        let needsProc = fchmodat(AT_FDCWD, root.string, 0o755, AT_SYMLINK_NOFOLLOW) != 0
        let pin = root.appending("echoes")
        var advice: String?
        do throws(BPFError) {
          try object.map("echoes").pin(at: pin)
        } catch {
          advice = error.advice
        }
        let text = "it is a symbolic link, which must be removed, or /proc is not mounted"
        #expect(advice == (needsProc ? text : nil))
        #expect(access(pin.string, F_OK) == (needsProc ? -1 : 0))
      }
    }
  }

  @Test func aPinIsNotExecutable() throws {
    try withBPFFileSystem { root in
      let pin = root.appending("echoes")
      let object = try echo()
      try object.load()
      let attributes = BPFPinAttributes(permissions: FilePermissions(rawValue: 0o751))
      try object.map("echoes").pin(at: pin, attributes: attributes)
      #expect(try mode(pin)[0] == 0o640)
    }
  }

  @Test func theModeOfAnExistingDirectoryStays() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      #expect(mkdir(directory.string, 0o700) == 0 && chmod(directory.string, 0o711) == 0)
      for path in [directory, root] {
        let before = try mode(path)
        try echo().loadAndAttach(pinnedIn: path, attributes: .group(65534))
        #expect(try mode(path) == before)
        #expect(try mode(path.appending("maps")) == [0o750, 0, 65534])
      }
    }
  }

  @Test func aChildDoesNotKeepTheLock() async throws {
    /// Forks while the directory is locked.
    final class Forking: BPFObjectPreparation {
      let child = Box<pid_t>(-1)

      func willLoad(_ object: BPFObject, reusing pinned: [String: BPFMap]) throws(BPFError) {
        let id = test_fork()
        if id == 0 { while true { pause() } }
        child.change { $0 = id }
      }

      func description(
        ofValuesIn map: DeclaredMap,
        of object: BPFObject
      ) throws(BPFError) -> String { "" }

      func difference(
        of pinned: BPFMap,
        describedAs description: String?,
        from declared: DeclaredMap,
        in object: BPFObject
      ) throws(BPFError) -> String? { nil }
    }

    try await withBPFFileSystem { root in
      let path = root.appending("service").string
      await #expect(processExitsWith: .success) { [path = path as String] in
        let forking = Forking()
        let object = try BPFObject(
          bytes: BPFObjectImage.pinCounts.bytes,
          name: "counts",
          source: "counts",
          preparation: forking
        )
        try object.loadAndAttach(pinnedIn: FilePath(path))
        let child = forking.child.get()
        try #require(child > 0)
        let directory = open(path, O_RDONLY | O_DIRECTORY)
        #expect(flock(directory, LOCK_EX | LOCK_NB) == 0, "the child has the lock")
        kill(child, SIGKILL)
        waitpid(child, nil, 0)
      }
    }
  }
}
