// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// The permitted operations of a process without capabilities that is not root.
@Suite(.liveKernel) struct RightsTests {
  @Test func loadingNeedsRights() async {
    await #expect(processExitsWith: .success) {
      #expect(test_drop_rights() == 0)
      let object = try BPFObject(.echo)
      let error = #expect(throws: BPFError.self) { try object.load() }
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice.contains("CAP_BPF") == true)
    }
  }

  @Test(.threadPidfds, arguments: LiveKernel.backends)
  func aProcessThatHoldsTheMapUsesItWithTheLayoutOfTheObjectFile(_ backend: BackendKind) async {
    await #expect(processExitsWith: .success) { [backend] in
      let program = try EchoProgram(allowing: [backend])
      let held = try BPFMap(adopting: program.object.map("echoes").duplicateDescriptor())
      #expect(test_drop_rights() == 0)

      let error = #expect(throws: BPFError.self) { try TaskLocalStorage<Echo>(map: held) }
      #expect(error?.kind == .layoutUnavailable)

      let layout = try BPFObject(.echo, allowing: [.lookup]).layout(ofMap: "echoes")
      let storage = try TaskLocalStorage<Echo>(map: held, layout: layout)
      #expect(storage.backend.kind == backend)
      try storage.withCurrent { $0.said = 3 }
      try storage.withCurrent { #expect($0.said == 3) }
      try TestThread { try storage.withCurrent { $0.said = 4 } }.join()
      #expect(try storage.removeValue(of: .callingThread))
    }
  }
}
