// SPDX-License-Identifier: Apache-2.0
import Glibc
import LibBPF
import MmapStorage
import TestSupport
import Testing

/// Guarantees of mmap_storage.bpf.h about objects that are compiled with it.
@Suite(.liveKernel) struct HeaderTests {
  private typealias Stat = Header.Stat

  /// The constants in the comparisons of a program are the same with each backend.
  @Test(arguments: LiveKernel.backends)
  func theProgramsOwnComparisonsStay(backend: BackendKind) throws {
    // Without the generated class, which would also open the other map with this backend.
    let object = try BPFObject(.header, allowing: [backend])
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    try object.attach()
    let stats = try TaskLocalStorage<Stat>(map: object.map("stats"))
    #expect(stats.backend.kind == backend)
    try stats.withCurrent { $0.calls = 100 }
    for _ in 0..<5 { _ = getppid() }
    try object.setGlobal("argument", to: UInt32(0x6d6d_6170))
    for _ in 0..<3 { _ = getppid() }
    let (calls, matches) = try stats.withCurrent { ($0.calls, $0.matches) }
    #expect(calls == 108 && matches == 3)
  }

  /// Maps are recognised by their types, not by their names.
  @Test func aUsersMapIsNotTakenForACompanion() throws {
    let object = try BPFObject(.header)
    #expect(object.mapNames == ["stats", "stats_user_page"])
    try object.setGlobal("target_tgid", to: getpid())
    try object.load()
    try object.attach()
    let own = try TaskLocalStorage<Stat>(map: object.map("stats_user_page"))
    #expect(own.backend.kind == .lookup)
    for _ in 0..<5 { _ = getppid() }
    #expect(try own.withCurrent { $0.calls } == 10)
  }

  /// Any loader can load the object: libbpf alone, here.
  @Test func libbpfLoadsTheObjectAsItIs() throws {
    let object = try BPFObject.open(.header)
    #expect(try object.mapFlags(of: "stats") == .noPrealloc)
    try object.load()
    let stats = try TaskLocalStorage<Stat>(map: object.map("stats"))
    #expect(stats.backend.kind == .lookup)
    if LiveKernel.userPageObstacle == nil {
      #expect(stats.backend.explanation.contains("not .userPage, as the object was opened with"))
    }
    #expect(try object.map("stats").info.valueSize == 16)
  }
}
