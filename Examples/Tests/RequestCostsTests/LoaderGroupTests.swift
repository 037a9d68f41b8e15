// SPDX-License-Identifier: Apache-2.0
import Glibc
import RequestCosts
import SystemPackage
import Testing

/// The group of a loader's pins.
@Suite(.liveKernel) struct LoaderGroupTests {
  @Test func permissionsOfThePins() async throws {
    try await withBPFFileSystem { directory in
      let group = try String(cString: #require(getgrgid(65534)).pointee.gr_name)
      let loader = try RunningLoader(directory, ["--group", group])
      #expect(try loader.readLine() == "Pinned in \(directory)")
      let readOnly = CostsProgram.readOnlyPins(in: directory)
      for pin in CostsProgram.pins(in: directory) {
        var info = stat()
        try #require(stat(pin.string, &info) == 0)
        let mode: mode_t = readOnly.contains(pin) ? 0o640 : 0o660
        #expect(info.st_mode & 0o7777 == mode && info.st_gid == 65534, "\(pin)")
      }
      // As Ctrl-C does.
      #expect(loader.end(SIGINT) == 0)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test func aLoaderThatMayNotChangeTheGroup() async throws {
    try await withBPFFileSystem { directory in
      let loader = try RunningLoader(
        directory,
        ["--group", "65534"],
        with: ["--inh-caps=-all,+bpf,+perfmon", "--bounding-set=-all,+bpf,+perfmon"]
      )
      let line = try loader.readLine()
      #expect(
        line.contains("cannot give \(directory) to the group 65534: Operation not permitted;")
      )
      #expect(line.contains("CAP_CHOWN"), "\(line)")
      #expect(loader.end() == 1)
      #expect(access(directory.string, F_OK) != 0)
    }
  }

  @Test func aGroupThatDoesNotExist() throws {
    let loader = try RunningLoader("/sys/fs/bpf/none", ["--group", "no-such-group"])
    #expect(try loader.readLine().contains("there is no group 'no-such-group'"))
    #expect(loader.end() == 1)
  }
}
