// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Foundation
import MmapStorage
import SystemPackage
import TestSupport
import Testing

@Suite(.liveKernel) struct LoadingTests {
  @Test func runsAProgramThatCountsInAThreadsStorage() throws {
    let object = try loadedCounters()
    let map = try object.map("task_counters")
    try object.attach()
    #expect(object.attachedPrograms == ["count_calls"])
    for _ in 0..<10 { _ = getppid() }
    object.detach()
    let counters = try #require(try ownValue(of: map, size: 32))
    #expect(counters.loadUnaligned(as: UInt64.self) >= 10)
    #expect(try object.global("total", as: UInt64.self) >= 5 + 70)
  }

  @Test func constantsReachTheProgram() throws {
    let object = try BPFObject(.taskCounters)
    try object.setGlobal("target_tgid", to: getpid())
    try object.setGlobal("initial_limits", to: Limits(low: 300, high: 400))
    try object.load()
    let map = try object.map("task_counters")
    try object.program("count_calls").attach()
    _ = getppid()
    object.detach()
    let counters = try #require(try ownValue(of: map, size: 32))
    #expect(counters.loadUnaligned(fromByteOffset: 16, as: UInt16.self) == 300)
    #expect(counters.loadUnaligned(fromByteOffset: 18, as: UInt16.self) == 400)
  }

  @Test func globalsAreSharedWithARunningProgram() throws {
    let object = try loadedCounters()
    try object.program("count_calls").attach()
    _ = getppid()
    #expect(try object.global("seen", as: UInt32.self) > 0)
    try object.setGlobal("paused", to: true)
    try object.setGlobal("seen", to: UInt32(0))
    for _ in 0..<10 { _ = getppid() }
    #expect(try object.global("seen", as: UInt32.self) == 0)
    try object.setGlobal("paused", to: false)
    for _ in 0..<10 { _ = getppid() }
    #expect(try object.global("seen", as: UInt32.self) >= 10)
    object.detach()
  }

  @Test func constantsStayAfterLoading() throws {
    let object = try loadedCounters()
    expectWrongState { try object.setGlobal("target_tgid", to: Int32(1)) }
    expectWrongState { try object.setGlobal("initial_limits", to: Limits(low: 0, high: 0)) }
    #expect(try object.global("target_tgid", as: Int32.self) == getpid())
    #expect(try object.global("initial_limits", as: Limits.self).low == 1)
  }

  @Test func settingsAfterLoadingAreRefused() throws {
    let object = try loadedCounters()
    expectWrongState { try object.load() }
    expectWrongState { try object.setMapFlags([], of: "task_counters") }
    expectWrongState { try object.setMaxEntries(9, of: "by_number") }
    expectWrongState { try object.setAutocreate(false, map: "by_number") }
    expectWrongState { try object.program("count_calls").setAutoload(false) }
    #expect(try object.map("by_number").info.maxEntries == 4)
  }

  @Test func settingsTakeEffect() throws {
    let object = try BPFObject(.taskCounters)
    try object.setMaxEntries(9, of: "by_number")
    try object.setMapFlags([.noPrealloc], of: "by_number")
    try object.program("count_calls").setAutoload(false)
    try object.load()
    let info = try object.map("by_number").info
    #expect(info.maxEntries == 9 && info.flags == .noPrealloc)
    let error = try #require(throws: BPFError.self) { try object.attach() }
    #expect(error.kind == .invalidArgument)
    expectWrongState { _ = try object.program("count_calls").attach() }
  }

  @Test func aMapWithoutAutocreate() throws {
    let object = try BPFObject(.taskCounters)
    try object.setAutocreate(false, map: "by_number")
    try object.program("add_number").setAutoload(false)
    try object.load()
    expectWrongState { _ = try object.map("by_number") }
    #expect(try object.maps().map(\.name) == ["task_counters"])
  }

  @Test func flagsThatTheKernelRefuses() throws {
    let object = try BPFObject(.taskCounters)
    try object.setMapFlags([.noPrealloc, .init(rawValue: 1 << 31)], of: "task_counters")
    let error = try #require(throws: BPFError.self) { try object.load() }
    #expect(error.kind == .loadFailed && error.errno == .invalidArgument)
    #expect(error.details.contains("task_counters"), "libbpf's own words are missing: \(error)")
  }

  @Test func theVerifiersLogIsInTheError() throws {
    let object = try BPFObject(.refused)
    let error = try #require(throws: BPFError.self) { try object.load() }
    #expect(error.kind == .loadFailed)
    #expect(error.object == "program 'unchecked' of object 'refused'")
    #expect(error.details.contains("invalid mem access 'map_value_or_null'"), "\(error)")
    #expect(error.advice.contains("without a test for NULL"), "\(error)")
    expectWrongState { try object.load() }
    expectWrongState { _ = try object.map("numbers") }
    #expect(try object.layout(ofMap: "numbers").type == .integer(size: 8, signed: false))
  }

  @Test func theEndOfALongLogIsKept() throws {
    let error = try #require(throws: BPFError.self) { try BPFObject(.longLog).load() }
    #expect(error.kind == .loadFailed)
    #expect(error.details.contains(" bytes of log omitted)\n"), "\(error)")
    #expect(error.details.contains("invalid mem access"), "\(error)")
    #expect(error.details.utf8.count < 80 << 10)
  }

  /// The log contains the types of all registers, also those of pointers that the program tests.
  @Test(arguments: ["out_of_bounds", "not_released"])
  func anErrorAfterATestForNull(_ program: String) throws {
    let object = try BPFObject(.refusedLater)
    try object.program(program).setAutoload(true)
    let error = try #require(throws: BPFError.self) { try object.load() }
    #expect(error.kind == .loadFailed && error.details.contains("_or_null"), "\(error)")
    #expect(!error.advice.contains("NULL"), "\(error)")
  }

  @Test func aProgramWithoutALicence() throws {
    let error = try #require(throws: BPFError.self) { try BPFObject(.unlicensed).load() }
    #expect(error.kind == .loadFailed)
    #expect(error.advice.contains("SEC(\"license\")"), "\(error)")
  }

  @Test func aMisspeltTracepoint() throws {
    let byType = try BPFObject(.misspelt)
    try byType.program("by_type").setAutoload(true)
    let load = try #require(throws: BPFError.self) { try byType.load() }
    #expect(load.kind == .notFound && load.advice.contains("function 'sys_entr'"), "\(load)")

    let byName = try BPFObject(.misspelt)
    try byName.program("by_name").setAutoload(true)
    try byName.load()
    let attach = try #require(throws: BPFError.self) { try byName.attach() }
    #expect(attach.kind == .notFound, "\(attach)")
    #expect(attach.advice.contains("'tracepoint/syscalls/sys_entr_getppid'"), "\(attach)")
  }

  /// libbpf searches a name that the kernel does not have in modules too, which needs CAP_SYS_ADMIN.
  @Test(arguments: ["by_type", "by_structure"])
  func aNameThatTheKernelDoesNotHaveWithoutCAPSysAdmin(_ program: String) async {
    await #expect(processExitsWith: .success) { [program] in
      #expect(test_keep_rights_to_load() == 0)
      let object = try BPFObject(.misspelt)
      try object.program(program).setAutoload(true)
      let error = try #require(throws: BPFError.self) { try object.load() }
      #expect(error.kind != .permissionDenied && !error.advice.contains("CAP_BPF"), "\(error)")
      if program == "by_type" {
        #expect(error.kind == .notFound && error.advice.contains("function 'sys_entr'"), "\(error)")
      }
    }
  }

  /// The verifier ends with EAGAIN if its thread has a signal, and libbpf repeats the call only five times.
  @Test func signalsWhileAProgramIsVerified() async {
    await #expect(processExitsWith: .success) {
      alarm(60)
      signal(SIGUSR1) { _ in }
      var mask = sigset_t()
      sigfillset(&mask)
      pthread_sigmask(SIG_UNBLOCK, &mask, nil)
      let loader = pthread_self()
      let isLoading = Box(true)
      let sender = try TestThread {
        while isLoading.get() {
          pthread_kill(loader, SIGUSR1)
          usleep(200)
        }
      }
      #expect(throws: Never.self) { try BPFObject(.slowToVerify).load() }
      isLoading.set(false)
      try sender.join()
      pthread_sigmask(SIG_BLOCK, nil, &mask)
      #expect(sigismember(&mask, SIGUSR1) == 0)
    }
  }

  /// libbpf pins maps with LIBBPF_PIN_BY_NAME in /sys/fs/bpf.
  @Test func aMapThatMayNotBePinned() async {
    await #expect(processExitsWith: .success) {
      #expect(test_leave_bpffs() == 0)
      #expect(mount("bpf", "/sys/fs/bpf", "bpf", 0, "mode=0500") == 0)
      #expect(test_keep_rights_to_load() == 0)
      let error = try #require(throws: BPFError.self) { try BPFObject(.pinnedByName).load() }
      #expect(error.kind == .permissionDenied && !error.advice.contains("CAP_BPF"), "\(error)")
      #expect(error.details.contains("/sys/fs/bpf/pinned_numbers"), "\(error)")
    }
  }

  @Test func aKernelWithoutTypeInformation() async {
    await #expect(processExitsWith: .success) {
      #expect(test_leave_bpffs() == 0)  // a mount namespace of its own
      #expect(mount("tmpfs", "/sys/kernel/btf", "tmpfs", 0, nil) == 0)
      let error = try #require(throws: BPFError.self) { try BPFObject(.taskCounters).load() }
      #expect(error.kind == .unsupported, "\(error)")
      #expect(error.advice.contains("CONFIG_DEBUG_INFO_BTF"), "\(error)")
    }
  }

  /// libbpf writes the kernel's values in load().
  @Test func valuesOfTheKernelsConfiguration() throws {
    let object = try BPFObject(.kernelConfig)
    let name = "LINUX_KERNEL_VERSION"
    expectWrongState { _ = try object.global(name, as: Int32.self) }
    expectWrongState { try object.setGlobal(name, to: Int32(1)) }
    try object.load()
    #expect(try object.global(name, as: Int32.self) > 5 << 16)
    expectWrongState { try object.setGlobal(name, to: Int32(1)) }
  }

  /// The descriptor limit may be reached at any descriptor.
  @Test func outOfDescriptors() async {
    await #expect(processExitsWith: .success) {
      var limit = rlimit()
      getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
      let object = try loadedCounters()
      object.close()
      var failures = 0
      for spare in 0..<64 {
        let first = try FileDescriptor.open("/dev/null", .readOnly)
        try first.close()
        let opened = try BPFObject(.taskCounters)
        try opened.setGlobal("target_tgid", to: getpid())
        var lower = limit
        lower.rlim_cur = rlim_t(Int(first.rawValue) + spare)
        setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &lower)
        defer { setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) }
        do throws(BPFError) {
          try opened.load()
          break
        } catch {
          failures += 1
          #expect(error.kind == .outOfResources, "\(spare) spare descriptors: \(error)")
        }
      }
      #expect(failures > 2 && failures < 64)
    }
  }

  /// libbpf suggests RLIMIT_MEMLOCK and the kernel's configuration although only rights are
  /// missing.
  @Test func withoutRights() async {
    await #expect(processExitsWith: .success) {
      let object = try BPFObject(.taskCounters)
      #expect(setuid(65534) == 0)
      let error = try #require(throws: BPFError.self) { try object.load() }
      #expect(error.kind == .permissionDenied && error.advice.contains("CAP_BPF"), "\(error)")
      let text = "\(error)"
      #expect(!text.contains("RLIMIT") && !text.contains("CONFIG_"), "\(text)")
    }
  }

  @Test func nothingIsPrinted() async {
    await #expect(processExitsWith: .success) {
      let printed = try Self.standardErrorOf {
        #expect(throws: BPFError.self) { try BPFObject(.refused).load() }
        #expect(throws: BPFError.self) {
          try BPFObject(bytes: Array(BPFObjectImage.refused.bytes.prefix(900)), name: "cut")
        }
      }
      #expect(printed.isEmpty, "\(printed)")
    }
  }

  /// Runs the body with standard error redirected to a file, and returns the contents of the file.
  private static func standardErrorOf(_ body: () throws -> Void) throws -> String {
    var text = ""
    try withTemporaryDirectory { directory in
      let path = directory.appending("errors")
      let file = try FileDescriptor.open(
        path,
        .writeOnly,
        options: .create,
        permissions: .ownerReadWrite
      )
      let saved = try FileDescriptor.standardError.duplicate()
      _ = try file.duplicate(as: .standardError)
      defer {
        _ = try? saved.duplicate(as: .standardError)
        try? saved.close()
        try? file.close()
      }
      try body()
      text = try String(contentsOfFile: path.string, encoding: .utf8)
    }
    return text
  }
}

/// An object that counts this process' system calls while it is attached.
func loadedCounters() throws -> BPFObject {
  let object = try BPFObject(.taskCounters)
  try object.setGlobal("target_tgid", to: getpid())
  try object.load()
  return object
}

/// The value of the calling thread, or nil if there is none.
func ownValue(of map: BPFMap, size: Int) throws -> [UInt8]? {
  let backend = try LookupBackend(map)
  var bytes = [UInt8](repeating: 0, count: size)
  let found = try bytes.withUnsafeMutableBytes { try backend.load(.callingThread, into: $0) }
  return found ? bytes : nil
}

extension [UInt8] {
  func loadUnaligned<T: BitwiseCopyable>(fromByteOffset offset: Int = 0, as type: T.Type) -> T {
    withUnsafeBytes { $0.loadUnaligned(fromByteOffset: offset, as: type) }
  }
}
