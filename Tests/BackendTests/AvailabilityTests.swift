// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import TestSupport
import Testing

/// Reports which backends the other suites omit, and why: omitted cases of a parameterised test are
/// not reported.
@Suite struct AvailabilityTests {
  @Test(.liveKernel) func lookupCasesRun() throws {
    #expect(try BackendUnderTest.lookup.fixture(Tag.self, map: "tags").backend is LookupBackend)
  }

  @Test(.liveKernel, .threadPidfds) func lookupByPidfdCasesRun() throws {
    let backend = try BackendUnderTest.lookupByPidfd.fixture(Tag.self, map: "tags").backend
    #expect(backend is LookupBackend)
  }

  @Test(.userPages) func userPageCasesRun() throws {
    #expect(try BackendUnderTest.userPage.fixture(Tag.self, map: "tags").backend is UserPageBackend)
  }

  @Test(.mmapableTaskStorage) func mappedCasesRun() throws {
    #expect(try BackendUnderTest.mapped.fixture(Tag.self, map: "tags").backend is MappedBackend)
  }
}
