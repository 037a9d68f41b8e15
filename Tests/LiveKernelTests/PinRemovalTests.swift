// SPDX-License-Identifier: Apache-2.0
import Foundation
import LibBPF
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// The files that ``BPFPinDirectory/remove()`` removes, and those that it does not remove.
@Suite(.liveKernel) struct PinRemovalTests {
  private func pin(_ directory: FilePath) throws {
    let object = try BPFObject(.pinCounts)
    try object.setGlobal("target_tgid", to: getpid())
    try object.loadAndAttach(pinnedIn: directory)
    object.close()
  }

  private func exists(_ path: FilePath) -> Bool {
    var info = stat()
    return lstat(path.string, &info) == 0
  }

  @Test func everythingIsRemovedAndTheProgramsAreDetached() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      try pin(directory)
      let left = try BPFMap(pinnedAt: pins.map("left"))
      let array = try BPFArrayMap<UInt64>(left)
      func isCounting() throws -> Bool {
        let before = try array.value(at: 0)
        _ = getppid()
        return try array.value(at: 0) != before
      }
      #expect(try isCounting())
      try pins.remove()
      #expect(!exists(directory))
      // A process that another test starts may have the link's descriptor until it calls exec.
      #expect(try (0..<10_000).contains { _ in try !isCounting() })
      let error = try #require(throws: BPFError.self) { try pins.remove() }
      #expect(error.kind == .notFound, "\(error)")
      // The directory can be used again.
      try pin(directory)
      #expect(try pins.attachedPrograms() == ["count_bytes", "count_calls"])
      try pins.remove()
      #expect(!exists(directory))
    }
  }

  /// A process that was to replace the pins was killed before it had renamed all.
  @Test func pinsThatWereNotReplacedAreRemoved() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try echo().loadAndAttach(pinnedIn: directory)
      let pins = BPFPinDirectory(directory)
      let link = pins.link("repeat")
      let program = try BPFLink(pinnedAt: link).info.programID
      let saved = root.appending("saved")
      #expect(rename(link.string, saved.string) == 0)
      // The link's pin, which is renamed last, cannot replace a directory.
      #expect(mkdir(link.string, 0o700) == 0 && unlink(pins.program("repeat").string) == 0)
      #expect(throws: BPFError.self) {
        try echo(tgid: 1).loadAndAttach(pinnedIn: directory, ifDifferent: .replace)
      }
      #expect(rmdir(link.string) == 0 && rename(saved.string, link.string) == 0)
      #expect(try BPFLink(pinnedAt: link).info.programID == program)
      #expect(try BPFProgram(pinnedAt: pins.program("repeat")).info.id != program)

      try pins.remove()
      #expect(!exists(directory))
    }
  }

  /// The object uses pinned links, and the pins are removed.
  @Test func programsCanBeAttachedAgain() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try pin(directory)
      let object = try BPFObject(.pinCounts)
      try object.setGlobal("target_tgid", to: getpid())
      #expect(try object.loadAndAttach(pinnedIn: directory) == .reused)
      #expect(object.attachedPrograms == ["count_bytes", "count_calls"])
      try BPFPinDirectory(directory).remove()
      #expect(object.attachedPrograms == [])
      try object.attach()
      #expect(object.attachedPrograms == ["count_bytes", "count_calls"])
      let before = try object.global("calls", as: UInt64.self)
      _ = getppid()
      #expect(try object.global("calls", as: UInt64.self) > before)
      object.detach()
      #expect(object.attachedPrograms == [])
      object.close()
    }
  }

  @Test func aDirectoryThatExistedStays() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      #expect(mkdir(directory.string, 0o750) == 0)
      for path in [directory, root] {
        try pin(path)
        try BPFPinDirectory(path).remove()
        #expect(exists(path))
        for name in ["maps", "programs", "links", "descriptions"] {
          #expect(!exists(path.appending(name)), "\(name)")
        }
      }
    }
  }

  @Test func whatOthersPinnedStays() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      try pin(directory)
      let other = try echo()
      try other.load()
      // A map of another object at the path of a pinned one, and beside it.
      #expect(unlink(pins.map("right").string) == 0)
      for path in [pins.map("right"), pins.map("more"), pins.program("map")] {
        try other.map("echoes").pin(at: path)
      }
      try other.program("repeat").loaded().pin(at: pins.program("repeat"))
      try pins.remove()
      for path in [pins.link("count_calls"), pins.program("count_calls"), pins.map("left")] {
        #expect(!exists(path), "\(path)")
      }
      for path in [
        pins.map("right"), pins.map("more"), pins.program("map"), pins.program("repeat"),
      ] {
        #expect(exists(path), "\(path)")
      }
      #expect(exists(directory))
    }
  }

  @Test func symbolicLinksAreNotFollowed() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      try pin(directory)
      let moved = root.appending("moved")
      for path in [pins.map("left"), pins.link("count_calls")] {
        #expect(rename(path.string, moved.string) == 0)
        #expect(symlink(moved.string, path.string) == 0)
        try pins.remove()
        #expect(exists(moved) && exists(path))
        for path in [path, moved] { #expect(unlink(path.string) == 0) }
        try pin(directory)
      }
      // Removal of a whole directory.
      for name in ["", "maps", "programs", "links", "descriptions"] {
        let path = name.isEmpty ? directory : directory.appending(name)
        #expect(rename(path.string, moved.string) == 0 && symlink(moved.string, path.string) == 0)
        let error = try #require(throws: BPFError.self, "\(name)") { try pins.remove() }
        #expect(error.kind == .invalidArgument, "\(error)")
        #expect(unlink(path.string) == 0 && rename(moved.string, path.string) == 0)
      }
      #expect(try pins.attachedPrograms() == ["count_bytes", "count_calls"])
      try pins.remove()
      #expect(!exists(directory))
    }
  }

  /// The directory is removed, and another one is created at its path, while a call waits for its lock.
  @Test func theLockOfARemovedDirectoryIsNotEnough() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      try BPFFileSystem.createDirectory(directory)
      let lock = try #require(lockDirectory(directory))
      let errors = Box<[BPFError?]>([])
      let threads = try [false, true].map { isRemoving in
        try TestThread {
          do throws(BPFError) {
            if isRemoving {
              try BPFPinDirectory(directory).remove()
            } else {
              let object = try BPFObject(.pinCounts)
              try object.loadAndAttach(pinnedIn: directory)
            }
            errors.change { $0.append(nil) }
          } catch {
            errors.change { $0.append(error) }
          }
        }
      }
      var status = stat()
      #expect(stat(directory.string, &status) == 0)
      var waiting = 0
      while waiting < threads.count {
        waiting = try String(contentsOfFile: "/proc/locks", encoding: .utf8).split(separator: "\n")
          .count { $0.contains("-> FLOCK") && $0.contains(":\(status.st_ino) ") }
      }
      // Without the lock, nothing is created that remove() would have to keep.
      #expect(try FileManager.default.contentsOfDirectory(atPath: directory.string) == [])
      #expect(rename(directory.string, root.appending("removed").string) == 0)
      try pin(directory)
      releaseLock(lock)
      for thread in threads { try thread.join() }
      #expect(errors.get().map(\.?.kind) == [.notFound, .notFound], "\(errors.get())")
      #expect(try BPFPinDirectory(directory).attachedPrograms() == ["count_bytes", "count_calls"])
      try BPFPinDirectory(directory).remove()
    }
  }

  @Test func aDirectoryOfAnotherUserIsRefused() throws {
    try withBPFFileSystem { root in
      let directory = root.appending("service")
      let pins = BPFPinDirectory(directory)
      try pin(directory)
      #expect(chown(directory.appending("maps").string, 65534, 65534) == 0)
      let error = try #require(throws: BPFError.self) { try pins.remove() }
      #expect(error.kind == .invalidArgument && error.advice.contains("belongs to user 65534"))
      #expect(try pins.attachedPrograms() == ["count_bytes", "count_calls"])
    }
  }
}
