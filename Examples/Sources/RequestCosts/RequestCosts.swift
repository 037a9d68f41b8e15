// SPDX-License-Identifier: Apache-2.0
import Glibc
public import Logging
import MmapStorage
public import ServiceLifecycle
import Synchronization
public import SystemPackage

/// The kernel-side costs of each route of a Hummingbird server.
///
/// ```swift
/// let costs = await RequestCosts.start(logger: logger)
/// router.add(middleware: RequestCostsMiddleware(costs))
/// let application = Application(router: router, server: .http1(countedBy: costs))
/// ```
///
/// As a service, it reports the costs outside of requests as metrics, and detaches the programs at a
/// graceful shutdown. Otherwise, they are detached when the process ends. May be used from any thread.
public final class RequestCosts: Service, Sendable {
  private let opened = OpenedSources()
  private let obstacle: String?
  private let table: Mutex<RouteTable>
  private let lastID = Atomic<UInt64>(0)
  private let started = ContinuousClock.now
  private let logger: Logger
  private let overflowLogged = Atomic<Bool>(false)
  /// Whether the loader has not responded for a while.
  private let isAbandoned = Atomic<Bool>(false)
  /// The last reason why an event loop could not read costs from its thread.
  private let unread = Mutex<String?>(nil)
  private let onRequest: (@Sendable (CostsReport.Request) -> Void)?

  /// Starts counting. If this is not possible, the server runs without costs, and the reason is logged
  /// once, as a warning. With a directory, counting then starts as soon as `request-costs-loader` has pinned
  /// its programs there: a Swift task looks for the pins once a second, until ``stop()``. If the loader ends, the
  /// pins of the next one are used.
  ///
  /// - Parameters:
  ///   - logger: The logger for warnings about missing features.
  ///   - directory: The directory in which `request-costs-loader` pinned its programs; nil to load them
  ///     here, which needs CAP_BPF and CAP_PERFMON.
  ///   - frequency: Samples per second and processor. Ignored for pinned programs.
  ///   - onRequest: Called with each request when it has ended, for example to log slow requests.
  /// - Returns: The argument for ``RequestCostsMiddleware``.
  public static func start(
    logger: Logger,
    pinnedIn directory: FilePath? = nil,
    frequency: Int = 997,
    onRequest: (@Sendable (CostsReport.Request) -> Void)? = nil
  ) async -> RequestCosts {
    do throws(BPFError) {
      let source =
        if let directory {
          try await CostsSource.ofRunningLoader(in: directory)
        } else {
          try await CostsSource.loading(frequency: frequency)
        }
      return RequestCosts(source, logger: logger, onRequest: onRequest)
    } catch {
      guard let directory else {
        return RequestCosts(obstacle: "\(error)", logger: logger, onRequest: onRequest)
      }
      let costs = RequestCosts(
        obstacle: "\(error); counting starts when request-costs-loader runs",
        logger: logger,
        onRequest: onRequest
      )
      costs.followLoader(in: directory)
      return costs
    }
  }

  /// Uses an open source.
  public init(
    _ source: CostsSource,
    logger: Logger,
    onRequest: (@Sendable (CostsReport.Request) -> Void)? = nil
  ) {
    self.onRequest = onRequest
    obstacle = nil
    table = Mutex(RouteTable())
    self.logger = logger
    use(source, after: .zero)
    if let directory = source.directory { followLoader(in: directory) }
  }

  /// Counts requests and their durations only.
  init(
    obstacle: String,
    logger: Logger,
    onRequest: (@Sendable (CostsReport.Request) -> Void)?
  ) {
    self.onRequest = onRequest
    self.obstacle = obstacle
    table = Mutex(RouteTable())
    self.logger = logger
    logger.warning("Serving without kernel costs: \(obstacle)")
  }

  private func use(_ source: CostsSource, after uncounted: Duration) {
    guard opened.open(source, after: uncounted) else { return }
    logger.log(
      level: uncounted == .zero ? .info : .notice,
      "Counting the kernel's work for each route",
      metadata: ["source": "\(source.description)"]
    )
    for sentence in source.missing {
      logger.warning("Missing from the costs of requests: \(sentence)")
    }
  }

  /// Opens the pins of a loader when it has started, and those of a later one when it has ended.
  private func followLoader(in directory: FilePath) {
    opened.wait { [weak self] in await self?.findLoader(in: directory) }
  }

  /// Returns the time to wait before the next call.
  private func findLoader(in directory: FilePath) async -> Duration {
    if let source {
      log(isAbandoned: source.isAbandoned)
      guard source.isReplaced(in: directory) else { return .seconds(1) }
    }
    guard CostsProgram.isPinned(in: directory) else { return .seconds(1) }
    do throws(BPFError) {
      let next = try await CostsSource.ofRunningLoader(in: directory)
      use(next, after: source?.silence ?? (ContinuousClock.now - started))
      isAbandoned.store(false, ordering: .relaxed)
      return .seconds(1)
    } catch {
      // The loader is pinning or changes the permissions, or has ended.
      let isSoonTried = [.notFound, .permissionDenied, .wrongState].contains(error.kind)
      return .seconds(isSoonTried ? 1 : 10)
    }
  }

  private func log(isAbandoned: Bool) {
    let wasAbandoned = self.isAbandoned.exchange(isAbandoned, ordering: .relaxed)
    if isAbandoned, !wasAbandoned {
      logger.warning("Missing from the costs of requests: \(Self.abandoned)")
    } else if wasAbandoned, !isAbandoned {
      logger.notice("The loader of the costs of requests responds again")
    }
  }

  private var source: CostsSource? { opened.with { $0.source } }
  var openScopes: OpenScopes? { opened.with { $0.source.openScopes } ?? nil }
  /// Whether there is a source of costs.
  var isCounting: Bool { opened.isOpen }

  /// Waits for a graceful shutdown, and detaches the programs. Every ten seconds it reports the
  /// costs outside of requests as metrics, and adds those of scopes that continue after their
  /// request.
  public func run() async throws {
    await cancelWhenGracefulShutdown {
      var reporter = OutsideMetrics()
      while !Task.isCancelled {
        self.openScopes?.addCosts()
        if let outside = try? self.outside() { reporter.report(outside) }
        try? await Task.sleep(for: .seconds(10))
      }
    }
    stop()
  }

  private static let abandoned =
    "the loader has not responded for ten seconds; if it has ended, nothing is counted until it is started again"

  /// Detaches the programs, which ends counting. Running requests continue.
  public func stop() { opened.stop() }

  // MARK: Requests

  func makeRequest() -> PendingRequest {
    PendingRequest(id: lastID.add(1, ordering: .relaxed).newValue, costs: self)
  }

  /// Marks a request as counted.
  ///
  /// - Returns: Whether it was not marked before.
  func claim(_ request: PendingRequest) -> Bool {
    guard request.claim() else { return false }
    table.withLock { $0.begin() }
    return true
  }

  /// Writes the trace of a request into the value of the current scope.
  func setTrace(_ traceID: TraceID) {
    withCurrentValue { value in
      value.traceIDHigh = traceID.high
      value.traceIDLow = traceID.low
    }
  }

  /// Accesses the value of the current scope, if there is one.
  @discardableResult
  func withCurrentValue<Result>(
    _ body: (borrowing StorageView<RequestValue>) -> Result
  ) -> Result? {
    opened.with { $0.source.requests.withCurrent(body) } ?? nil
  }

  /// Runs a part of a request. The programs add to its value meanwhile, and its end adds the value to the
  /// request.
  func withScope<Result>(
    _ request: PendingRequest,
    _ operation: () async throws -> Result,
    isolation: isolated (any Actor)? = #isolation
  ) async rethrows -> Result {
    guard let requests = opened.with({ $0.source.requests }) else { return try await operation() }
    let (result, snapshot) = try await requests.withValue(
      { request.beginScope($0) },
      onEnd: { request.endScope($0.costs) },
      operation: operation
    )
    if snapshot == nil {
      request.endScope(nil)
      reportOverflow()
    }
    return result
  }

  /// Runs a callback of an event loop for a request.
  ///
  /// - Parameters:
  ///   - request: The request. It does not end before the value is final.
  ///   - add: Called with the costs; nil to add them to the request.
  ///   - body: The callback.
  func withCallback(
    of request: PendingRequest,
    adding add: (@Sendable (KernelCosts) -> Void)? = nil,
    _ body: () -> Void
  ) {
    let snapshot = opened.with { opened in
      opened.source.requests.withValue(
        { request.open($0) },
        onEnd: { value in
          if let add { add(value.costs) } else { request.add(value.costs) }
          request.close()
        },
        operation: body
      ).1
    }
    guard let snapshot else { return body() }
    guard snapshot == nil else { return }
    request.close()
    reportOverflow()
  }

  /// The costs of the calling thread's last read.
  func takeReadCall() -> KernelCosts? {
    let taken = opened.with { opened in
      Result { try opened.source.readCalls?.take() }
    }
    switch taken {
    case nil: return nil
    case .success(let costs): return costs
    case .failure(let error):
      let sentence = "some reads of event loops count as outside of requests: \(error)"
      let isFirst = unread.withLock { unread in
        defer { unread = sentence }
        return unread == nil
      }
      if isFirst { logger.warning("Missing from the costs of requests: \(sentence)") }
      return nil
    }
  }

  private func reportOverflow() {
    table.withLock { $0.withoutSlot += 1 }
    guard !overflowLogged.exchange(true, ordering: .relaxed) else { return }
    logger.warning(
      "Requests without kernel costs: more run at once than the programs have slots for (4096)"
    )
  }

  func finish(_ request: FinishedRequest) {
    table.withLock { $0.finish(request) }
    if request.isClaimed { onRequest?(CostsReport.Request(request)) }
  }

  /// Adds costs to a route, or to those outside of requests.
  ///
  /// - Parameters:
  ///   - costs: The costs.
  ///   - moved: The part of them that the programs have added to the costs outside of requests.
  ///   - route: The route.
  func addLate(_ costs: KernelCosts, moved: KernelCosts, route: String?) {
    table.withLock { $0.addLate(costs, moved: moved, route: route) }
  }

  // MARK: Results

  /// Costs of the process outside of any request.
  private func outside() throws(BPFError) -> KernelCosts? {
    let found = opened.with { opened in
      Result { () throws(BPFError) in (try opened.source.outside(), opened.earlier.outside) }
    }
    guard let (last, earlier) = try found?.get(), var outside = last else { return nil }
    outside += earlier
    return table.withLock { $0.outside(outside) }
  }

  /// Returns the figures since the start.
  public func report() -> CostsReport {
    openScopes?.addCosts()
    var report = table.withLock { $0.report() }
    let source = source
    report.source = source?.description ?? "none"
    report.obstacle = source == nil ? obstacle : nil
    report.missing = source?.missing ?? []
    let earlier = opened.with { $0.earlier } ?? EarlierFigures()
    if earlier.uncounted > .zero {
      report.missing.append(
        "nothing was counted for \(Int(earlier.uncounted / .seconds(1))) s, because no pins of a running loader "
          + "could be opened"
      )
    }
    if source?.isAbandoned == true { report.missing.append(Self.abandoned) }
    report.missedRuns = source?.missedRuns.map { $0 &+ earlier.missedRuns }
    report.unreadable = (try? source?.requests.unreadableCount()).map { $0 + earlier.unreadable }
    report.seconds = (ContinuousClock.now - started) / .seconds(1)
    do throws(BPFError) {
      report.outside = try outside().map { CostsReport.Figures($0) }
    } catch {
      report.missing.append("the costs outside of requests cannot be read: \(error)")
    }
    if let unread = unread.withLock({ $0 }) { report.missing.append(unread) }
    var usage = rusage()
    if getrusage(__rusage_who_t(RUSAGE_SELF.rawValue), &usage) == 0 {
      report.processNanoseconds = usage.ru_utime.nanoseconds + usage.ru_stime.nanoseconds
    }
    return report
  }
}

extension timeval {
  fileprivate var nanoseconds: UInt64 { UInt64(tv_sec) * 1_000_000_000 + UInt64(tv_usec) * 1000 }
}
