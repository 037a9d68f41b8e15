// SPDX-License-Identifier: Apache-2.0
import CTestSupport
import Glibc
@_spi(Benchmarks) import MmapStorage
import SystemPackage
import TestSupport
import Testing

/// A storage and a running BPF program.
@Suite(.liveKernel) struct StorageTests {
  @Test(arguments: LiveKernel.backends)
  func programAndThreadSeeEachOther(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    #expect(storage.backend.kind == backend)
    try storage.withCurrent { $0.said = 7 }
    for _ in 0..<5 { _ = getppid() }
    try storage.withCurrent { echo in
      #expect(echo.calls == 5)
      #expect(echo.heard == 7)
      #expect(echo.bits == 4)
    }
  }

  @Test func theFastestBackendIsChosen() throws {
    let backend = try EchoProgram().storage().backend
    #expect(backend.kind == LiveKernel.backends.first)
    #expect(Set(LiveKernel.backends).isDisjoint(with: backend.rejected.map(\.kind)))
    if backend.kind != .mapped {
      #expect(backend.rejected.first?.kind == .mapped)
      #expect(backend.rejected.first?.errno == .invalidArgument)
      #expect(backend.explanation.contains("not .mapped, as this kernel does not have"))
      // No released kernel has it, so it is not reported as a fault.
      #expect(!backend.description.contains(".mapped"), "\(backend)")
    }
  }

  @Test func aBackendThatIsNotAllowedIsNotUsed() throws {
    for excluded in LiveKernel.backends where LiveKernel.backends.count > 1 {
      let others = Set(BackendKind.allCases).subtracting([excluded])
      let backend = try EchoProgram(allowing: others).storage().backend
      #expect(backend.kind == LiveKernel.backends.first { $0 != excluded })
      #expect(
        backend.kind == .mapped
          || backend.rejected.contains {
            $0.kind == excluded && $0.reason.contains("'allowing'") || excluded == .lookup
          }
      )
    }
    let object = try BPFObject(.echo, allowing: [])
    try object.load()
    let error = #expect(throws: BPFError.self) {
      try TaskLocalStorage<Echo>(map: object.map("echoes"))
    }
    #expect(throws: BPFError.self) { try EchoProgram(allowing: []) }
    #expect(error?.kind == .unsupported)
    #expect(error?.advice.contains("not .lookup, as 'allowing' does not contain it") == true)
    let map = try EchoProgram(allowing: [.lookup]).object.map("echoes")
    #expect(throws: BPFError.self) { try TaskLocalStorage<Echo>(map: map, allowing: [.mapped]) }
  }

  @Test(arguments: LiveKernel.backends.filter { $0 != .userPage })
  func theProgramCreatesTheStorageOfAThreadThatNeverTouchedIt(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    try TestThread {
      let before = try storage.value(of: .thread(.current))
      #expect(before == nil)
      _ = getppid()
      let after = try storage.value(of: .thread(.current))
      #expect(after?.calls == 1)
    }.join()
  }

  @Test(arguments: LiveKernel.backends)
  func whatTheProgramWritesDuringAViewIsKept(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    try storage.withCurrent { echo in
      echo.reserved = 3
      for _ in 0..<4 { _ = getppid() }
      // The changes are not in the copy yet.
      #expect(echo.calls == (storage.backend.kind == .lookup ? 0 : 4))
    }
    try storage.withCurrent { echo in
      #expect(echo.calls == 4)
      #expect(echo.reserved == 3)
    }
  }

  @Test func writingBackByProgramLosesNothingThatTheProgramWritesMeanwhile() throws {
    // The program writes at the entry of each system call of the views.
    let program = try EchoProgram(
      creates: false,
      counting: SYS_bpf,
      allowing: [.lookup]
    )
    let backend = try LookupBackend(program.object.map("echoes"), accessPath: .program)
    let storage = try TaskLocalStorage<Echo>(backend: backend)
    try storage.withCurrent { $0.said = 1 }
    let before = try storage.withCurrent { $0.calls }
    for round in 0..<100 { try storage.withCurrent { $0.said = UInt32(round + 2) } }
    let after = try storage.withCurrent { $0.calls }
    #expect(after - before == 100 * 2 + 1)
  }

  @Test(arguments: LiveKernel.backends)
  func manyThreadsEachSeeTheirOwn(_ backend: BackendKind) throws {
    let program = try EchoProgram(creates: false, allowing: [backend])
    let storage = try program.storage()
    let missed = Box(UInt64(0))
    let threads = try (1...32).map { number in
      try TestThread {
        let rounds = 20
        for round in 1...rounds {
          try storage.withCurrent { $0.said = UInt32(number * 1000 + round) }
          for _ in 0..<number { _ = getppid() }
          try storage.withCurrent { echo in
            #expect(echo.heard / 1000 == number || echo.calls == 0)
            #expect(echo.calls <= UInt64(number * round))
          }
        }
        let calls = try storage.withCurrent { $0.calls }
        missed.change { $0 += UInt64(number * rounds) - calls }
      }
    }
    for thread in threads { try thread.join() }
    // All calls are counted, except those for which the kernel did not run the program.
    let misses = try program.object.program("repeat").loaded().recursionMisses()
    #expect(missed.get() <= misses)
  }

  @Test(.threadPidfds, arguments: LiveKernel.backends)
  func anotherThreadsValue(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let storage = try program.storage()
    let ready = Gate(), done = Gate()
    let id = Box(ThreadID(rawValue: 0))
    let thread = try TestThread {
      id.set(.current)
      try storage.withCurrent { $0.said = 9 }
      ready.open()
      done.wait()
      _ = getppid()
      #expect(try storage.withCurrent { $0.heard } == 10)
    }
    ready.wait()
    let other = id.get()
    #expect(try storage.value(of: .thread(other))?.said == 9)
    try storage.setValue(Echo(said: 10), of: .thread(other))
    done.open()
    try thread.join()
    // The kernel freed the storage with the thread.
    let error = #expect(throws: BPFError.self) { try storage.value(of: .thread(other)) }
    #expect(error?.kind == .noSuchTask)
    #expect(error?.errno == .noSuchProcess)
  }

  /// They are loaded at the first use. Without them, the value of another thread is written as a whole.
  @Test func descriptorsThatRunOutDoNotDisableTheProgramsForOtherThreads() async {
    await #expect(processExitsWith: .success) {
      let ready = Gate(), done = Gate(), id = Box(ThreadID(rawValue: 0))
      let thread = try TestThread {
        id.set(.current)
        ready.open()
        done.wait()
      }
      ready.wait()
      let first = try EchoProgram(allowing: [.lookup])
      let second = try EchoProgram(allowing: [.lookup])
      let (usual, late) = try (first.storage(), second.storage())

      var before = try descriptors("bpf-prog").count
      _ = try? usual.value(of: .thread(id.get()))
      let loaded = try descriptors("bpf-prog").count - before

      before = try descriptors("bpf-prog").count
      try withoutFreeDescriptors { _ = try? late.value(of: .thread(id.get())) }
      _ = try? late.value(of: .thread(id.get()))
      let loadedLate = try descriptors("bpf-prog").count - before
      #expect(loadedLate == loaded, "none before Linux 6.2")
      done.open()
      try thread.join()
    }
  }

  @Test func aStorageKeepsItsMapOpen() throws {
    let program = try EchoProgram()
    let map = try program.object.map("echoes")
    let storage = try TaskLocalStorage<Echo>(map: map)
    map.close()
    program.object.close()
    try storage.withCurrent { $0.said = 1 }
    #expect(try storage.value(of: .thread(.current))?.said == 1)
    let error = #expect(throws: BPFError.self) { try TaskLocalStorage<Echo>(map: map) }
    #expect(error?.kind == .wrongState)
  }

  @Test(.threadPidfds, arguments: LiveKernel.backends.filter { $0 != .userPage })
  func aReadOnlyDescriptorGivesCopiesThatCannotBeWrittenBack(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    let writable = try program.storage()
    try writable.withCurrent { $0.said = 5 }
    try withBPFFileSystem { directory in
      let path = directory.appending("echoes")
      try program.object.map("echoes").pin(at: path)
      let readOnly = try TaskLocalStorage<Echo>(
        map: BPFMap(pinnedAt: path, readOnly: true),
        layout: program.object.layout(ofMap: "echoes")
      )
      #expect(readOnly.backend.kind == .lookup)
      #expect(
        readOnly.backend.explanation.contains(
          "(the map's descriptor is read-only, or the map is frozen)"
        )
      )
      let refusal = #expect(throws: BPFError.self) {
        try LookupBackend(
          BPFMap(pinnedAt: path, readOnly: true),
          layout: program.object.layout(ofMap: "echoes"),
          accessPath: .program
        )
      }
      #expect(refusal?.kind == .permissionDenied)
      #expect(try readOnly.withCurrent { $0.said } == 5)
      let error = #expect(throws: BPFError.self) {
        try readOnly.withCurrent { $0.said = 6 }
      }
      #expect(error?.kind == .permissionDenied)
      #expect(error?.advice.contains("read-only") == true)
      #expect(try writable.withCurrent { $0.said } == 5)
    }
  }

  @Test(arguments: LiveKernel.backends.filter { $0 != .lookup })
  func aBackendThatNeedsAWritableDescriptorSaysSo(_ backend: BackendKind) throws {
    let program = try EchoProgram(allowing: [backend])
    try withBPFFileSystem { directory in
      let path = directory.appending("echoes")
      try program.object.map("echoes").pin(at: path)
      let error = try #require(throws: BPFError.self) {
        try TaskLocalStorage<Echo>(
          map: BPFMap(pinnedAt: path, readOnly: true),
          layout: program.object.layout(ofMap: "echoes"),
          allowing: [backend]
        )
      }
      #expect(error.kind == .permissionDenied && error.errno == nil, "\(error)")
      #expect(error.advice.contains("without readOnly"), "\(error)")
    }
  }

  // MARK: Bad input

  @Test func aWrongLayoutPrintsTheTable() throws {
    struct Wrong: MapValue {
      var calls: UInt64
      var heard: UInt32
      var said: UInt32
      var bits: Int32
    }
    let program = try EchoProgram()
    let error = #expect(throws: BPFError.self) {
      try TaskLocalStorage<Wrong>(map: program.object.map("echoes"))
    }
    #expect(error?.kind == .layoutMismatch)
    let table = try #require(error?.details)
    for expected in ["heard", "said", "Int32", "u32", "reserved"] {
      #expect(table.contains(expected))
    }
  }

  @Test func aMapOfAnotherType() throws {
    let program = try EchoProgram()
    let error = #expect(throws: BPFError.self) {
      try TaskLocalStorage<Echo>(map: program.object.map("not_task_storage"))
    }
    #expect(error?.kind == .wrongType)
    #expect(error?.object.contains("not_task_storage") == true)
  }

  @Test func aMapWithoutTypeInformation() throws {
    let map = try BPFMap(
      creating: .array,
      name: "plain",
      keySize: 4,
      valueSize: 8,
      maxEntries: 1
    )
    let error = #expect(throws: BPFError.self) { try map.valueLayout() }
    #expect(error?.kind == .layoutUnavailable)
  }

  @Test func aLayoutThatIsNotTheMaps() throws {
    let program = try EchoProgram()
    let number = ValueLayout(name: "wide", type: try InlineArray<9, UInt64>.fieldType())
    let error = #expect(throws: BPFError.self) {
      try TaskLocalStorage<InlineArray<9, UInt64>>(
        map: program.object.map("echoes"),
        layout: number
      )
    }
    #expect(error?.kind == .layoutMismatch)
  }

  @Test func threadIDsWithoutAThread() throws {
    let storage = try EchoProgram().storage()
    for id in [Int32.max, 0, -1] {
      let error = #expect(throws: BPFError.self) {
        try storage.value(of: .thread(ThreadID(rawValue: id)))
      }
      #expect(error?.kind == (id > 0 ? .noSuchTask : .invalidArgument))
    }
  }

  @Test(.threadPidfds) func aPidfdOfATaskThatHasEnded() throws {
    let storage = try EchoProgram().storage()
    let holder = Box(Int32(-1))
    try TestThread {
      try storage.withCurrent { $0.said = 1 }
      holder.set(test_pidfd_open(ThreadID.current.rawValue))
    }.join()
    let pidfd = FileDescriptor(rawValue: holder.get())
    defer { try? pidfd.close() }
    #expect(try storage.value(of: .pidfd(pidfd)) == nil)
    #expect(try storage.removeValue(of: .pidfd(pidfd)) == false)
    let error = #expect(throws: BPFError.self) {
      try storage.setValue(Echo(), of: .pidfd(pidfd))
    }
    #expect(error?.kind == .noSuchTask)
  }
}
