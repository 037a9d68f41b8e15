// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import NIOCore
import Synchronization

/// Which requests the work of an HTTP/1 connection is for.
///
/// Its handlers call it on the connection's event loop, and the connection's Swift task takes the requests
/// from it, in their order.
final class CountedConnection: Sendable {
  /// That of the current Swift task.
  @TaskLocal static var current: CountedConnection?

  private let costs: RequestCosts
  private let state = Mutex(State())

  private struct State {
    /// The request whose head comes next.
    var next: PendingRequest?
    /// The request whose head was read, but not its end.
    var incoming: PendingRequest?
    /// Requests for the connection's Swift task.
    var waiting: [PendingRequest] = []
    /// The request of the connection's Swift task.
    var served: PendingRequest?
    /// Requests whose responses were not written to the end.
    var unanswered: [PendingRequest] = []
    /// What is being read, or was last.
    var reading: ReadScope?
    /// Keeps the value of a flush that the socket did not accept as a whole.
    var unflushed: AsyncStream<Never>.Continuation?
  }

  init(_ costs: RequestCosts) { self.costs = costs }

  // MARK: The Swift task

  /// The next request.
  func take() -> PendingRequest? {
    state.withLock { state in
      state.served = state.waiting.isEmpty ? nil : state.waiting.removeFirst()
      return state.served
    }
  }

  /// The request that the current Swift task serves, if `costs` counts its connection.
  static func servedRequest(of costs: RequestCosts) -> PendingRequest? {
    guard let current, current.costs === costs else { return nil }
    return current.state.withLock { $0.served }
  }

  // MARK: Reading

  /// Runs what is done with bytes that the thread has just read.
  func read(_ body: () -> Void) {
    guard costs.isCounting else { return body() }
    let call = costs.takeReadCall()
    let (request, scope) = state.withLock { state in
      let request = state.incoming ?? nextRequest(&state)
      let scope = ReadScope(request)
      state.reading = scope
      return (request, scope)
    }
    if let call { request.add(call, fromOutside: true) }
    costs.withCallback(of: request, adding: { scope.end($0) }, body)
  }

  /// Runs what is done after the last of several reads.
  func completeRead(_ body: () -> Void) {
    let request = state.withLock { state in
      defer { state.reading = nil }
      return state.reading?.request
    }
    guard let request else { return body() }
    costs.withCallback(of: request, body)
  }

  private func nextRequest(_ state: inout State) -> PendingRequest {
    if let next = state.next { return next }
    let next = costs.makeRequest()
    state.next = next
    return next
  }

  func readHead() {
    let (request, scope) = state.withLock { state in
      let request = nextRequest(&state)
      state.next = nil
      state.incoming = request
      state.waiting.append(request)
      state.unanswered.append(request)
      return (request, state.reading)
    }
    request.begin()
    guard let scope, scope.request !== request else { return }
    // Several requests came in one read.
    let costs = costs.withCurrentValue { value in
      value.id = request.id
      return value.load().costs
    }
    scope.pass(to: request, costs ?? KernelCosts())
  }

  func readEnd() { state.withLock { $0.incoming = nil } }

  // MARK: Writing

  /// Runs what is done to write parts of one response.
  func write(_ body: () -> Void) {
    let request = state.withLock { $0.unanswered.first }
    guard let request else { return body() }
    costs.withCallback(of: request, body)
  }

  /// The response is written as soon as its last part is, which `future` belongs to.
  func writeEnd(_ future: EventLoopFuture<Void>) {
    let request = state.withLock { state in
      state.unanswered.isEmpty ? nil : state.unanswered.removeFirst()
    }
    guard let request else { return }
    future.whenComplete { _ in
      self.release()
      request.close()
    }
  }

  /// Runs what is done to write parts of one response to the socket.
  ///
  /// - Parameters:
  ///   - isBehind: Whether the socket still has to accept what was written before. NIO makes no system
  ///     call then, and the programs go on with the scope that found the socket full.
  ///   - body: Returns whether the socket has accepted everything.
  func flush(isBehind: Bool, _ body: () -> Bool) {
    write {
      guard !body() else { return }
      guard !isBehind || state.withLock({ $0.unflushed == nil }) else { return }
      // The rest is written later, outside of any callback. The programs know the socket, and add to
      // the value of this scope until the Swift task ends.
      let (stream, unflushed) = AsyncStream.makeStream(of: Never.self)
      Task { for await _ in stream {} }
      release(unflushed)
    }
  }

  private func release(_ next: AsyncStream<Never>.Continuation? = nil) {
    let previous = state.withLock { state in
      defer { state.unflushed = next }
      return state.unflushed
    }
    previous?.finish()
  }

  // MARK: The end

  /// No response will be written any more. Requests that are waiting end when nobody takes them.
  func close() {
    release()
    let unanswered = state.withLock { state in
      defer {
        state.unanswered = []
        state.next = nil
        state.incoming = nil
        state.reading = nil
      }
      return state.unanswered
    }
    for request in unanswered { request.close() }
  }
}

/// A read, whose costs are divided between the requests that came in it.
final class ReadScope: Sendable {
  private let state: Mutex<(request: PendingRequest, passed: KernelCosts)>

  init(_ request: PendingRequest) { state = Mutex((request, KernelCosts())) }

  var request: PendingRequest { state.withLock { $0.request } }

  /// What follows is for another request. `costs` are those of the scope so far.
  func pass(to request: PendingRequest, _ costs: KernelCosts) {
    let (previous, amount) = state.withLock { state in
      defer { state = (request, costs) }
      return (state.request, costs.since(state.passed))
    }
    previous.add(amount)
  }

  /// Adds the rest of the scope's costs.
  func end(_ costs: KernelCosts) {
    let (request, amount) = state.withLock { ($0.request, costs.since($0.passed)) }
    request.add(amount)
  }
}
