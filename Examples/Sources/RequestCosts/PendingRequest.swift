// SPDX-License-Identifier: Apache-2.0
import HTTPTypes
import HummingbirdCore
import Logging
import MmapStorage
import Synchronization

/// A request that is being served, or will be.
///
/// It has parts: its response, its Swift task, and callbacks of the event loop that run for it. It
/// ends with the last part. Later costs, such as those of a `Task {}` that continues after the
/// response, are added to its route.
final class PendingRequest: Sendable {
  let id: UInt64
  private let costs: RequestCosts
  private let state: Mutex<State>

  private struct State {
    var details = Details()
    var began = ContinuousClock.now
    var costs = KernelCosts()
    /// The part of the costs that the programs have added to the costs outside of requests.
    var moved = KernelCosts()
    /// The number of parts. The response is one.
    var parts = 1
    /// Scopes of Swift tasks that are open.
    var scopes = 0
    /// Costs of open scopes that were added to the route.
    var added = KernelCosts()
    var isClaimed = false
    var isFinished = false
  }

  /// The information from the middleware.
  struct Details: Sendable {
    var method: HTTPRequest.Method = .get
    var uri = URI("")
    var endpoint: String?
    var name: Logger.MetadataValue?
    var status = 0
    var traceID = TraceID()

    var route: String { method.rawValue + " " + (endpoint ?? "(no route)") }
  }

  init(id: UInt64, costs: RequestCosts) {
    self.id = id
    self.costs = costs
    state = Mutex(State())
  }

  // The response may be dropped without having been written.
  deinit { finish { _ in true } }

  /// Begins the request when its head was read. Its Swift task is then a part of it.
  func begin() {
    state.withLock { state in
      state.began = .now
      state.parts += 1
    }
  }

  /// Marks the request as counted. The costs of other requests stay outside of requests.
  ///
  /// - Returns: Whether this is the first call.
  func claim() -> Bool {
    state.withLock { state in
      defer { state.isClaimed = true }
      return !state.isClaimed
    }
  }

  func describe(_ change: (inout Details) -> Void) {
    state.withLock { change(&$0.details) }
  }

  /// Adds costs.
  ///
  /// - Parameters:
  ///   - amount: The costs.
  ///   - fromOutside: Whether the programs have added them to the costs outside of requests.
  func add(_ amount: KernelCosts, fromOutside: Bool = false) {
    let late: Details?? = state.withLock { state in
      guard state.isFinished else {
        state.costs += amount
        if fromOutside { state.moved += amount }
        return nil
      }
      return .some(state.isClaimed ? state.details : nil)
    }
    if let late {
      costs.addLate(amount, moved: fromOutside ? amount : KernelCosts(), route: late?.route)
    }
  }

  /// Begins a scope of a Swift task, and writes its value.
  func beginScope(_ value: borrowing StorageView<RequestValue>) {
    let traceID = state.withLock { state in
      state.scopes += 1
      return state.details.traceID
    }
    write(to: value, traceID)
  }

  /// Ends a scope of a Swift task.
  ///
  /// - Parameter amount: Its costs; nil if it had no value.
  func endScope(_ amount: KernelCosts?) {
    var amount = amount ?? KernelCosts()
    state.withLock { state in
      state.scopes -= 1
      let added = state.added
      state.added = added.since(amount)
      amount = amount.since(added)
      if state.scopes == 0, state.isFinished { costs.openScopes?.remove(self) }
    }
    add(amount)
  }

  /// Adds the costs so far of scopes that are open after the request has ended.
  func addOpen(_ costs: KernelCosts) {
    let amount: KernelCosts? = state.withLock { state in
      guard state.scopes > 0 else { return nil }
      let amount = costs.since(state.added)
      state.added += amount
      return amount
    }
    if let amount { add(amount) }
  }

  /// Adds a part, and writes the value of its scope.
  func open(_ value: borrowing StorageView<RequestValue>) {
    let traceID = state.withLock { state in
      state.parts += 1
      return state.details.traceID
    }
    write(to: value, traceID)
  }

  private func write(to value: borrowing StorageView<RequestValue>, _ traceID: TraceID) {
    value.id = id
    value.traceIDHigh = traceID.high
    value.traceIDLow = traceID.low
  }

  /// Ends a part. The last one ends the request.
  func close() {
    finish { state in
      state.parts -= 1
      return state.parts <= 0
    }
  }

  private func finish(if isLast: (inout State) -> Bool) {
    let finished: FinishedRequest? = state.withLock { state in
      guard isLast(&state), !state.isFinished else { return nil }
      let now = ContinuousClock.now
      state.isFinished = true
      if state.scopes > 0 { costs.openScopes?.insert(self) }
      return FinishedRequest(
        id: id,
        isClaimed: state.isClaimed,
        details: state.details,
        nanoseconds: UInt64(max(0, (now - state.began) / .nanoseconds(1))),
        costs: state.costs,
        moved: state.moved
      )
    }
    if let finished { costs.finish(finished) }
  }
}

/// A request that was served.
struct FinishedRequest: Sendable {
  var id: UInt64
  var isClaimed: Bool
  var details: PendingRequest.Details
  var nanoseconds: UInt64
  var costs: KernelCosts
  var moved: KernelCosts
}
