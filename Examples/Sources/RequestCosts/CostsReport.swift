// SPDX-License-Identifier: Apache-2.0

/// The costs since the start, as in `GET /costs.json`. All figures are sums.
public struct CostsReport: Codable, Sendable {
  /// The source of the costs.
  public var source = ""
  /// The reason why there are no costs; `nil` if there are.
  public var obstacle: String?
  /// The figures that are missing, with one sentence for each.
  public var missing: [String] = []
  /// Seconds since the start.
  public var seconds = 0.0
  /// Requests that are being served.
  public var running = 0
  /// Parts of requests for which no slot was free, and which therefore have no costs.
  public var withoutSlot = 0
  /// Events for which the kernel did not run a program; `nil` if unknown.
  public var missedRuns: UInt64?
  /// Events that are counted as outside of requests because the kernel could not read the process's
  /// memory, such as while it moved it to a huge page; `nil` if unknown.
  public var unreadable: Int?
  /// The processor time of the whole process since it began, by `getrusage`.
  public var processNanoseconds: UInt64 = 0
  /// The costs of the process outside of any request since counting began.
  public var outside: Figures?
  /// Each route.
  public var routes: [Route] = []
  /// The slowest requests.
  public var slowest: [Request] = []

  /// The sums of a route.
  public struct Route: Codable, Sendable {
    /// Its method and path.
    public var route: String
    /// The number of requests.
    public var requests: Int
    /// The number of requests that ended with a status of 500 or more.
    public var failures: Int
    /// The median duration.
    public var p50Nanoseconds: UInt64
    /// The 99th percentile of the duration.
    public var p99Nanoseconds: UInt64
    /// The costs of all requests.
    public var costs: Figures
  }

  /// A request.
  public struct Request: Codable, Sendable {
    /// Its number: `id` in the programs' value.
    public var id: UInt64
    /// Hummingbird's id, as in logs.
    public var name: String
    /// Its trace, if it has one.
    public var traceID: String?
    /// Its method and route.
    public var route: String
    /// Its path.
    public var path: String
    /// The status of its response.
    public var status: Int
    /// The duration until the response was written: from the request's head with
    /// `http1(countedBy:)`, else from the middleware.
    public var nanoseconds: UInt64
    /// Its costs.
    public var costs: Figures

    init(_ request: FinishedRequest) {
      id = request.id
      name = request.details.name?.description ?? ""
      traceID = request.details.traceID.text
      route = request.details.route
      path = String(request.details.uri.path.prefix(256))
      status = request.details.status
      nanoseconds = request.nanoseconds
      costs = Figures(request.costs)
    }
  }

  /// ``KernelCosts`` with names.
  public struct Figures: Codable, Sendable {
    /// Processor time in system calls.
    public var kernelNanoseconds: UInt64
    /// Other processor time.
    public var userNanoseconds: UInt64
    /// Samples.
    public var samples: UInt64
    /// Time of waiting for a processor.
    public var runQueueNanoseconds: UInt64
    /// The number of waits for a processor.
    public var runQueueWaits: UInt64
    /// Time in which a thread was blocked, by cause.
    public var blockedNanoseconds: [String: UInt64]
    /// System calls, by class.
    public var calls: [String: UInt64]
    /// Time in system calls, waiting included, by class.
    public var callNanoseconds: [String: UInt64]
    /// Page faults.
    public var pageFaults: UInt64
    /// Bytes that read calls returned.
    public var bytesRead: UInt64
    /// Bytes that write calls accepted.
    public var bytesWritten: UInt64
    /// Bytes received from TCP sockets.
    public var tcpReceived: UInt64
    /// Bytes sent to TCP sockets.
    public var tcpSent: UInt64

    init(_ costs: KernelCosts) {
      kernelNanoseconds = costs.kernelTime
      userNanoseconds = costs.userTime
      samples = costs.samples
      runQueueNanoseconds = costs.runQueueTime
      runQueueWaits = costs.runQueueWaits
      blockedNanoseconds = Self.named(BlockingCause.allCases) { costs.blockedTime[$0.rawValue] }
      calls = Self.named(SystemCallClass.allCases) { costs.calls[$0.rawValue] }
      callNanoseconds = Self.named(SystemCallClass.allCases) { costs.callTime[$0.rawValue] }
      pageFaults = costs.pageFaults
      bytesRead = costs.bytesRead
      bytesWritten = costs.bytesWritten
      tcpReceived = costs.tcpReceived
      tcpSent = costs.tcpSent
    }

    /// The nonzero values.
    private static func named<Key>(_ keys: [Key], _ value: (Key) -> UInt64) -> [String: UInt64] {
      var values: [String: UInt64] = [:]
      for key in keys {
        let value = value(key)
        if value != 0 { values["\(key)"] = value }
      }
      return values
    }
  }
}
