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

  @Test(arguments: [
    ("         0          0 4294967295\n", false),
    ("         0       1000          1\n", true),
    ("         0          0       1000\n", true),
    ("         0          0       1000\n      1000     101000      64536\n", true),
    ("         1          0 4294967295\n", true),
    ("", false),
    (nil, false),
  ])
  func userNamespaces(_ uidMap: String?, _ isOther: Bool) {
    #expect(isInUserNamespace(uidMap: uidMap) == isOther)
  }
}
