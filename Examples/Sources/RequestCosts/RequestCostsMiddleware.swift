// SPDX-License-Identifier: Apache-2.0
import Foundation
public import Hummingbird
import Logging

/// Gives each request a value that the BPF programs add to, and serves what they counted at `/costs` (a
/// page) and `/costs.json`.
///
/// A request begins at the middleware and ends when its response was written. Add it before other
/// middleware, but after `TracingMiddleware`, whose trace id it uses. What the server does before and after
/// (accepting connections, reading and parsing requests, writing to sockets) is outside of requests.
public struct RequestCostsMiddleware<Context: RequestContext>: RouterMiddleware {
  private let costs: RequestCosts
  private let path: String?

  /// - Parameters:
  ///   - costs: Counts.
  ///   - path: Where the page is served, and with ".json" the figures; nil to serve neither. Whoever
  ///     can reach the server can read them.
  public init(_ costs: RequestCosts, servedAt path: String? = "/costs") {
    self.costs = costs
    self.path = path
  }

  /// Counts the request.
  public func handle(
    _ request: Request,
    context: Context,
    next: (Request, Context) async throws -> Response
  ) async throws -> Response {
    if let path, request.method == .get, request.uri.path.hasPrefix(path),
      let response = try serve(request.uri.path.dropFirst(path.count))
    {
      return response
    }
    let pending = costs.begin()
    let traceID = TraceID.current(request.headers)
    let method = request.method.rawValue
    // context.id needs a logger that keeps metadata.
    let name = context.logger[metadataKey: "hb.request.id"]?.description ?? ""
    pending.describe { details in
      details.path = String(request.uri.path.prefix(256))
      details.name = name
      details.traceID = traceID
    }
    do {
      var response = try await costs.withScope(pending) { try await next(request, context) }
      let status = response.status.code
      let route = method + " " + (context.endpointPath ?? "(no route)")
      pending.describe { details in
        details.route = route
        details.status = status
      }
      // A request ends when its response was written.
      let body = response.body
      response.body = ResponseBody(contentLength: body.contentLength) { [costs] writer in
        defer { pending.finish() }
        try await costs.withScope(pending) { try await body.write(writer) }
      }
      return response
    } catch {
      let route = method + " " + (context.endpointPath ?? "(no route)")
      pending.describe { details in
        details.route = route
        details.status = (error as? any HTTPResponseError)?.status.code ?? 500
      }
      pending.finish()
      throw error
    }
  }

  private func serve(_ suffix: Substring) throws -> Response? {
    switch suffix {
    case "":
      return Response(
        status: .ok,
        headers: [
          .contentType: "text/html; charset=utf-8",
          .contentSecurityPolicy: CostsPage.policy,
          .cacheControl: "no-store",
        ],
        body: ResponseBody(byteBuffer: ByteBuffer(string: CostsPage.html))
      )
    case ".json":
      let encoder = JSONEncoder()
      encoder.outputFormatting = .sortedKeys
      let bytes = try encoder.encode(costs.report())
      return Response(
        status: .ok,
        headers: [.contentType: "application/json", .cacheControl: "no-store"],
        body: ResponseBody(byteBuffer: ByteBuffer(bytes: bytes))
      )
    default:
      return nil
    }
  }
}
