// SPDX-License-Identifier: Apache-2.0
import MmapStorage
import NIOCore
import Synchronization

/// Assigns the work of an HTTP/1 connection to requests.
///
/// Its handlers call it on the connection's event loop. The connection's Swift task takes the
/// requests from it, in order.
final class CountedConnection: Sendable {
  /// The connection of the current Swift task.
  @TaskLocal static var current: CountedConnection?

  private let costs: RequestCosts
  private let state = Mutex(State())

  private struct State {
    /// The request of the next head.
    var next: PendingRequest?
    /// The request whose head was read, but not its end.
    var incoming: PendingRequest?
    /// Requests for the connection's Swift task.
    var waiting: [PendingRequest] = []
    /// The request of the connection's Swift task.
    var served: PendingRequest?
    /// Requests whose responses are not completely written.
    var unanswered: [PendingRequest] = []
    /// The current or the last read.
    var reading: ReadScope?
    /// Keeps the value of a flush that the socket did not accept completely.
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

  /// Runs the handling of bytes that the thread has just read.
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

  /// Runs the handling after the last of several reads.
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
    // One read returned several requests.
    let costs = costs.withCurrentValue { value in
      value.id = request.id
      return value.load().costs
    }
    scope.pass(to: request, costs ?? KernelCosts())
  }

  func readEnd() { state.withLock { $0.incoming = nil } }

  // MARK: Writing

  /// Runs the writing of parts of one response.
  func write(_ body: () -> Void) {
    let request = state.withLock { $0.unanswered.first }
    guard let request else { return body() }
    costs.withCallback(of: request, body)
  }

  /// The response is written when its last part is, to which `future` belongs.
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

  /// Runs the writing of parts of one response to the socket.
  ///
  /// - Parameters:
  ///   - isBehind: Whether the socket has not accepted all earlier bytes. NIO then makes no system call,
  ///     and the programs continue to use the scope in which the socket was full.
  ///   - body: Returns whether the socket has accepted everything.
  func flush(isBehind: Bool, _ body: () -> Bool) {
    write {
      guard !body() else { return }
      guard !isBehind || state.withLock({ $0.unflushed == nil }) else { return }
      // The rest is written later, outside of any callback. The programs store the socket, and add
      // to the value of this scope until the Swift task ends.
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

  /// No more responses will be written. Waiting requests end if no Swift task takes them.
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

/// A read, whose costs are divided between its requests.
final class ReadScope: Sendable {
  private let state: Mutex<(request: PendingRequest, passed: KernelCosts)>

  init(_ request: PendingRequest) { state = Mutex((request, KernelCosts())) }

  var request: PendingRequest { state.withLock { $0.request } }

  /// Switches to another request. `costs` are those of the scope so far.
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
