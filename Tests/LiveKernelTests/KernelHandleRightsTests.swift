// SPDX-License-Identifier: Apache-2.0
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// In separate processes, because they permanently drop rights or descriptors.
@Suite(.liveKernel) struct KernelHandleRightsTests {
  @Test func aProcessWithoutRights() async {
    await #expect(processExitsWith: .success) {
      try withBPFFileSystem { directory in
        let object = try loadedCounters()
        let map = try object.map("task_counters")
        let path = directory.appending("counters")
        try map.pin(at: path)
        let new = try BPFObject(.taskCounters)

        let nobody: uid_t = 65534
        try #require(seteuid(nobody) == 0)

        let load = try #require(throws: BPFError.self) { try new.load() }
        #expect(load.kind == .permissionDenied && load.errno == .notPermitted, "\(load)")
        #expect(load.advice.contains("CAP_BPF"))
        let create = try #require(throws: BPFError.self) {
          try BPFMap(creatingTaskStorage: "denied", wordCount: 1)
        }
        #expect(create.kind == .permissionDenied, "\(create)")
        let pinned = try #require(throws: BPFError.self) { try BPFMap(pinnedAt: path) }
        #expect(pinned.kind == .permissionDenied, "\(pinned)")
        let unpin = try #require(throws: BPFError.self) { try map.unpin(at: path) }
        #expect(unpin.kind == .permissionDenied, "\(unpin)")
        let pin = try #require(throws: BPFError.self) {
          try map.pin(at: directory.appending("again"))
        }
        #expect(pin.kind == .permissionDenied, "\(pin)")

        let adopted = try BPFMap(adopting: map.duplicateDescriptor())
        #expect(try adopted.info.valueSize == 32)
        let layout = try #require(throws: BPFError.self) { try adopted.valueLayout() }
        #expect(layout.kind == .layoutUnavailable && layout.errno == .notPermitted, "\(layout)")
        #expect(layout.advice.contains("BPFObject.layout(ofMap:)"))
        #expect(try BPFObject(.taskCounters).layout(ofMap: "task_counters") == map.valueLayout())

        try #require(seteuid(0) == 0)
      }
    }
  }

  @Test func aProcessWithoutDescriptors() async {
    await #expect(processExitsWith: .success) {
      // libbpf probes the kernel once and caches the results.
      try KernelHandleRightsTests.run()
      // The inherited descriptors may have gaps, which are free descriptors below any limit.
      let highest = try #require(try descriptors().max())
      while true {
        let copy = dup(0)
        if copy > highest {
          close(copy)
          break
        }
      }
      let before = try descriptors()
      let resource = __rlimit_resource_t(RLIMIT_NOFILE.rawValue)
      var limit = rlimit()
      getrlimit(resource, &limit)
      let unlimited = limit
      var succeeded = false
      var failures = 0
      for spare in 0..<40 where !succeeded {
        limit.rlim_cur = rlim_t(try #require(before.max()) + 1) + rlim_t(spare)
        setrlimit(resource, &limit)
        defer { #expect((try? descriptors()) == before, "\(spare) spare descriptors") }
        defer { _ = withUnsafePointer(to: unlimited) { setrlimit(resource, $0) } }
        do throws(BPFError) {
          try KernelHandleRightsTests.run()
          succeeded = true
        } catch {
          failures += 1
        }
      }
      #expect(failures > 3)
      #expect(succeeded)
    }
  }

  /// All operations that need a descriptor.
  private static func run() throws(BPFError) {
    let object = try BPFObject(.taskCounters)
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    let maps = try object.maps()
    try object.attach()
    let copy = try maps[0].duplicateDescriptor()
    do throws(BPFError) {
      _ = try BPFMap(adopting: copy).info
    } catch {
      try? copy.close()
      throw error
    }
    object.detach()
  }
}
