// SPDX-License-Identifier: Apache-2.0
import Glibc
public import MmapStorage
import SystemPackage

/// The source of costs: the kernel, or a test.
public struct CostsSource: Sendable {
  let requests: SwiftTaskStorage<RequestValue>
  let processes: TaskLocalStorage<ProcessValue>?
  /// Nil if reading it would take a system call.
  let readCalls: TaskLocalStorage<ReadCall>?
  /// Nil without a kernel that counts.
  let openScopes: OpenScopes?
  private let loader: PinnedLoader?
  private let control: ProcessControl?
  /// The directory of the pins of a loader.
  let directory: FilePath?
  /// The programs, if this process loaded them.
  public let program: CostsProgram?
  let description: String
  let missing: [String]

  /// A source whose costs a test or a demonstration adds to the values of requests.
  ///
  /// - Parameter requests: The values, such as `FakeSwiftTasks<RequestValue>().storage`.
  /// - Returns: The source.
  public static func fake(_ requests: SwiftTaskStorage<RequestValue>) -> CostsSource {
    CostsSource(
      requests: requests,
      processes: nil,
      readCalls: nil,
      openScopes: nil,
      loader: nil,
      control: nil,
      directory: nil,
      program: nil,
      description: "memory of the process, no kernel",
      missing: ["what happens outside of requests is not counted"]
    )
  }

  /// Loads the programs, and registers this process with them. Needs CAP_BPF and CAP_PERFMON, or root.
  ///
  /// - Parameters:
  ///   - frequency: Samples per second and processor.
  ///   - without: Programs of costs-programs.bpf.c to omit.
  /// - Returns: The source.
  /// - Throws: `BPFError`.
  public static func loading(
    frequency: Int = 997,
    without: Set<String> = []
  ) async throws(BPFError) -> CostsSource {
    try await loading(.best, frequency: frequency, without: without)
  }

  package static func loading(
    _ hooks: TracepointHooks,
    frequency: Int = 997,
    without: Set<String> = []
  ) async throws(BPFError) -> CostsSource {
    let program = try CostsProgram(hooks, frequency: frequency, without: without)
    let object = program.object
    let processes = try TaskLocalStorage<ProcessValue>(map: object.map("processes"))
    let requests = try await SwiftTaskStorage<RequestValue>(object, "requests")
    let readCalls = try TaskLocalStorage<ReadCall>(map: object.map("read_calls"))
    let unread = readCalls.obstacle
    try processes.setValue(ProcessValue(), of: .thread(ThreadID(rawValue: getpid())))
    return CostsSource(
      requests: requests,
      processes: processes,
      readCalls: unread == nil ? readCalls : nil,
      openScopes: try OpenScopes(object.map("requests"), layout: nil, of: requests),
      loader: nil,
      control: nil,
      directory: nil,
      program: program,
      description:
        "BPF programs of this process, \(program.object.attachedPrograms.count) attached",
      missing: program.missing + (unread.map { [$0] } ?? [])
    )
  }

  /// Uses the programs that `request-costs-loader` loaded, and registers this process with them. Needs
  /// the permissions that the loader gives to its group, and no capability.
  ///
  /// - Parameter directory: The directory of the pins.
  /// - Returns: The source.
  /// - Throws: `BPFError`.
  public static func pinned(in directory: FilePath) async throws(BPFError) -> CostsSource {
    let object = try BPFObject(.costsPrograms)
    let processes = try TaskLocalStorage<ProcessValue>(
      map: BPFMap(pinnedAt: directory.appending("processes"), readOnly: true),
      layout: object.layout(ofMap: "processes")
    )
    let control = try ProcessControl(pinnedIn: directory)
    let requests = try await SwiftTaskStorage<RequestValue>(
      pinnedIn: directory,
      name: "requests",
      layout: object.layout(ofMap: "requests")
    )
    let readCalls = try TaskLocalStorage<ReadCall>(
      pinnedAt: directory.appending("read_calls"),
      layout: object.layout(ofMap: "read_calls")
    )
    let loader = try PinnedLoader(object, in: directory)
    let openScopes = try OpenScopes(
      BPFMap(pinnedAt: directory.appending("requests"), readOnly: true),
      layout: object.layout(ofMap: "requests"),
      of: requests
    )
    let state = try loader.state()
    let unread = readCalls.obstacle
    try control.register()
    return CostsSource(
      requests: requests,
      processes: processes,
      readCalls: unread == nil ? readCalls : nil,
      openScopes: openScopes,
      loader: loader,
      control: control,
      directory: directory,
      program: nil,
      description: "BPF programs pinned in \(directory)",
      missing: state.missing + (unread.map { [$0] } ?? [])
    )
  }

  /// As ``pinned(in:)``, but fails if the loader has ended and has left its pins.
  static func ofRunningLoader(in directory: FilePath) async throws(BPFError) -> CostsSource {
    let loader = try PinnedLoader(BPFObject(.costsPrograms), in: directory)
    guard try loader.state().isAbandoned else { return try await pinned(in: directory) }
    throw BPFError(
      .wrongState,
      attempt: "use the programs of request-costs-loader",
      on: "path '\(directory)'",
      advice: "the loader has ended or is stopped, so nothing is counted; start it"
    )
  }

  /// Whether the loader seems to have ended, so that nothing is counted any more.
  var isAbandoned: Bool { (try? loader?.state())?.isAbandoned ?? false }

  /// The time since the loader responded; zero without a loader.
  var silence: Duration { (try? loader?.state())?.silence ?? .zero }

  /// Whether the directory has the pins of another loader.
  func isReplaced(in directory: FilePath) -> Bool {
    let id = try? PinnedLoader.openMap(in: directory).info.id
    return id != nil && id != loader?.id
  }

  /// The number of events that were not counted; nil if it is unknown.
  var missedRuns: UInt64? {
    program?.missedRuns ?? (try? loader?.state())?.missedRuns
  }

  /// Costs of the process outside of any request; nil if it is not counted.
  func outside() throws(BPFError) -> KernelCosts? {
    try processes?.value(of: .thread(ThreadID(rawValue: getpid())))?.outside
  }

  /// Ends counting for this process.
  func stop() {
    program?.detach()
    if let control {
      control.unregister()
    } else {
      _ = try? processes?.removeValue(of: .thread(ThreadID(rawValue: getpid())))
    }
  }
}

/// The state of a loader, as its servers read it.
private struct PinnedLoader: Sendable {
  /// The id of its map, which differs from that of each other running loader.
  let id: UInt32
  private let map: BPFArrayMap<LoaderState>

  init(_ object: BPFObject, in directory: FilePath) throws(BPFError) {
    let map = try Self.openMap(in: directory)
    id = try map.info.id
    self.map = try BPFArrayMap(map, layout: object.layout(ofMap: "loader"))
  }

  func state() throws(BPFError) -> LoaderState { try map.value(at: 0) }

  static func openMap(in directory: FilePath) throws(BPFError) -> BPFMap {
    try BPFMap(pinnedAt: directory.appending("loader"), readOnly: true)
  }
}

extension TaskLocalStorage<ReadCall> {
  /// The reason why reads cannot be attributed with it; nil if they can.
  fileprivate var obstacle: String? {
    let consequence = "reads of event loops count as outside of requests: "
    guard [.mapped, .userPage].contains(backend.kind) else {
      return consequence + "they need Linux 6.13"
    }
    do {
      _ = try take()
      return nil
    } catch {
      return consequence + "\(error)"
    }
  }
}
