// SPDX-License-Identifier: Apache-2.0
public import HummingbirdCore
import Logging
import NIOCore
import NIOHTTPTypes

extension HTTPServerBuilder {
  /// An HTTP/1 server that adds the work of its event loops to the costs of requests: reading, parsing and
  /// writing.
  ///
  /// ```swift
  /// let application = Application(router: router, server: .http1(countedBy: costs))
  /// ```
  ///
  /// Use it together with ``RequestCostsMiddleware``. The costs of requests that do not reach the middleware, of
  /// connections without a request, and of accepting and polling count as outside of requests.
  ///
  /// - Parameters:
  ///   - costs: The object that counts.
  ///   - configuration: The configuration of Hummingbird's `http1(configuration:)`.
  /// - Returns: The argument `server` of `Application`.
  public static func http1(
    countedBy costs: RequestCosts,
    configuration: HTTP1Channel.Configuration = .init()
  ) -> HTTPServerBuilder {
    HTTPServerBuilder { responder in
      CountedHTTP1Channel(costs: costs, configuration: configuration, responder: responder)
    }
  }
}

/// Hummingbird's channel with additional handlers before and after its codec.
package struct CountedHTTP1Channel: ServerChildChannel {
  private let costs: RequestCosts
  private let configuration: HTTP1Channel.Configuration
  private let responder: HTTPChannelHandler.Responder

  package struct Value: ServerChildChannelValue {
    let base: HTTP1Channel.Value
    let connection: CountedConnection

    package var channel: any Channel { base.channel }
  }

  package init(
    costs: RequestCosts,
    configuration: HTTP1Channel.Configuration,
    responder: @escaping HTTPChannelHandler.Responder
  ) {
    self.costs = costs
    self.configuration = configuration
    self.responder = { request, writer, channel in
      guard let pending = CountedConnection.current?.take() else {
        return try await responder(request, writer, channel)
      }
      defer { pending.close() }
      var writer = Optional(writer)
      try await costs.withScope(pending) {
        guard let writer = writer.take() else { return }
        try await responder(request, writer, channel)
      }
    }
  }

  package func setup(channel: any Channel, logger: Logger) -> EventLoopFuture<Value> {
    let connection = CountedConnection(costs)
    // The program stores the reads only of threads that have requested this.
    _ = costs.takeReadCall()
    var configuration = configuration
    let others = configuration.additionalChannelHandlers
    // Last, because the application's own handlers may respond to requests.
    configuration.additionalChannelHandlers = { others() + [PartHandler(connection)] }
    let base = HTTP1Channel(responder: responder, configuration: configuration)
    return base.setup(channel: channel, logger: logger).flatMapThrowing { value in
      try channel.pipeline.syncOperations.addHandler(ReadHandler(connection), position: .first)
      return Value(base: value, connection: connection)
    }
  }

  package func handle(value: Value, logger: Logger) async {
    await CountedConnection.$current.withValue(value.connection) {
      await HTTP1Channel(responder: responder, configuration: configuration)
        .handle(value: value.base, logger: logger)
    }
  }
}
