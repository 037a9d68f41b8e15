// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import SystemPackage
import Testing

@Suite struct ErrorTests {
  @Test func theDescriptionHasAttemptObjectErrorAndAdvice() {
    let error = BPFError(
      errno: .badFileDescriptor,
      attempt: "read the map's info",
      on: "descriptor 7"
    )
    #expect(
      "\(error)"
        == "cannot read the map's info: descriptor 7: Bad file descriptor (errno 9); "
        + "the descriptor is closed or was never open; keep it open while it is in use"
    )
    #expect(error.kind == .wrongState)
  }
}
