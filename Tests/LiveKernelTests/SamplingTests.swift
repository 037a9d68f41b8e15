// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// Programs that are attached to the clocks of the processors.
@Suite(.liveKernel) struct SamplingTests {
  private func opened() throws -> BPFObject {
    let object = try BPFObject(.samples)
    try object.setGlobal("target_tgid", to: getpid())
    return object
  }

  @Test func aProgramSamplesUntilItIsDetached() async {
    await #expect(processExitsWith: .success) {
      alarm(120)
      let object = try BPFObject(.samples)
      try object.setGlobal("target_tgid", to: getpid())
      try object.load()
      let program = try object.program("count_samples")
      try program.attach(samplingAt: 1000)
      let links = try descriptors("bpf_link")
      #expect(!links.isEmpty && object.attachedPrograms == ["count_samples"])
      try program.attach(samplingAt: 1000)
      #expect(try descriptors("bpf_link") == links)
      while try object.global("samples", as: UInt64.self) == 0 {}
      if links.count > 1 {
        let error = #expect(throws: BPFError.self) { try program.link() }
        #expect(error?.kind == .unsupported, "\(String(describing: error))")
      }
      program.detach()
      #expect(!program.isAttached)
      #expect(try descriptors("bpf_link").isEmpty && descriptors("perf_event").isEmpty)
    }
  }

  /// The child has the same descriptors of the events as its parent.
  @Test func aChildThatClosesTheObjectDoesNotStopItsParentsSamples() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      let object = try BPFObject(.samples)
      try object.setGlobal("target_tgid", to: getpid())
      try object.load()
      try object.program("count_samples").attach(samplingAt: 1000)
      let child = test_fork()
      if child == 0 {
        object.close()
        let isClosed = try? descriptors("bpf_link").isEmpty && descriptors("perf_event").isEmpty
        _exit(isClosed == true ? 0 : 1)
      }
      var status: Int32 = 0
      #expect(waitpid(child, &status, 0) == child && status == 0)
      let before = try object.global("samples", as: UInt64.self)
      while try object.global("samples", as: UInt64.self) == before {}
      object.close()
    }
  }

  @Test(arguments: [0, -1, 1 << 32])
  func frequenciesThatCannotBe(_ frequency: Int) throws {
    let object = try opened()
    try object.load()
    let error = try #require(throws: BPFError.self) {
      try object.program("count_samples").attach(samplingAt: frequency)
    }
    #expect(error.kind == .invalidArgument)
  }

  @Test func aFrequencyAboveTheLimit() throws {
    let object = try opened()
    try object.load()
    let error = try #require(throws: BPFError.self) {
      try object.program("count_samples").attach(samplingAt: Int(UInt32.max))
    }
    #expect(error.errno == .invalidArgument)
    #expect(error.advice.contains("perf_event_max_sample_rate"), "\(error)")
    #expect(object.attachedPrograms.isEmpty)
  }

  @Test func whatIsNotLoadedIsNotAttached() throws {
    let object = try opened()
    let program = try object.program("count_samples")
    let early = try #require(throws: BPFError.self) { try program.attach(samplingAt: 10) }
    #expect(early.kind == .wrongState)
    try program.setAutoload(false)
    try object.load()
    let error = try #require(throws: BPFError.self) { try program.attach(samplingAt: 10) }
    #expect(error.kind == .wrongState && error.advice.contains("setAutoload(false)"), "\(error)")
  }

  @Test func aProgramOfAnotherTypeLeavesNothingOpen() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.samples)
      try object.load()
      let before = try descriptors()
      let error = #expect(throws: BPFError.self) {
        try object.program("of_another_type").attach(samplingAt: 10)
      }
      #expect(error?.advice.contains("'perf_event'") == true, "\(String(describing: error))")
      #expect(try descriptors() == before)
      #expect(object.attachedPrograms.isEmpty)
    }
  }
}
