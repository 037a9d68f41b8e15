// SPDX-License-Identifier: Apache-2.0
import Synchronization

/// A request that is being served. Its scopes add their values when they end, which for a `Task {}` that
/// goes on after the response may be later than the end of the request.
final class PendingRequest: Sendable {
  let id: UInt64
  private let costs: RequestCosts
  private let began = ContinuousClock.now
  private let state: Mutex<State>

  private struct State {
    var details = Details()
    var costs = KernelCosts()
    var isFinished = false
  }

  /// What the middleware knows.
  struct Details: Sendable {
    var route = "(no route)"
    var path = ""
    var name = ""
    var status = 0
    var traceID = TraceID()
  }

  init(id: UInt64, costs: RequestCosts) {
    self.id = id
    self.costs = costs
    state = Mutex(State())
  }

  // The response may be dropped without having been written.
  deinit { finish() }

  var traceID: TraceID { state.withLock { $0.details.traceID } }

  func describe(_ change: @Sendable (inout Details) -> Void) {
    state.withLock { change(&$0.details) }
  }

  func add(_ amount: KernelCosts) {
    let lateRoute: String? = state.withLock { state in
      guard state.isFinished else {
        state.costs += amount
        return nil
      }
      return state.details.route
    }
    if let lateRoute { costs.addLate(amount, route: lateRoute) }
  }

  /// Counts the request, once.
  func finish() {
    let duration = ContinuousClock.now - began
    let finished: FinishedRequest? = state.withLock { state in
      guard !state.isFinished else { return nil }
      state.isFinished = true
      return FinishedRequest(
        id: id,
        details: state.details,
        nanoseconds: UInt64(max(0, duration / .nanoseconds(1))),
        costs: state.costs
      )
    }
    if let finished { costs.finish(finished) }
  }
}

/// A request that was served.
struct FinishedRequest: Sendable {
  var id: UInt64
  var details: PendingRequest.Details
  var nanoseconds: UInt64
  var costs: KernelCosts
}
