// SPDX-License-Identifier: Apache-2.0
import Foundation
public import Hummingbird
import Logging

/// Runs each request with a value that the BPF programs add to. Serves the costs at `/costs` (a
/// page) and `/costs.json`.
///
/// Add it before other middleware, but after `TracingMiddleware`, whose trace id it uses. With
/// `http1(countedBy:)`, a request begins when its head was read and ends when its response was written, and
/// includes reading, parsing and writing. With another server, it begins at the middleware, and the work of
/// event loops counts as outside of requests.
public struct RequestCostsMiddleware<Context: RequestContext>: RouterMiddleware {
  private let costs: RequestCosts
  private let path: String?

  /// - Parameters:
  ///   - costs: The object that counts.
  ///   - path: The path of the page and, with ".json", of the figures; `nil` to serve neither. Every client of
  ///     the server can read them.
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
    let served = CountedConnection.servedRequest(of: costs)
    let pending = served ?? costs.makeRequest()
    guard costs.claim(pending) else { return try await next(request, context) }
    let traceID = TraceID.current(request.headers)
    pending.describe { details in
      details.method = request.method
      details.uri = request.uri
      // context.id needs a logger that keeps metadata.
      details.name = context.logger[metadataKey: "hb.request.id"]
      details.traceID = traceID
    }
    do {
      guard served == nil else {
        if traceID != TraceID() { costs.setTrace(traceID) }
        let response = try await next(request, context)
        describe(pending, context, response.status.code)
        return response
      }
      var response = try await costs.withScope(pending) { try await next(request, context) }
      describe(pending, context, response.status.code)
      let body = response.body
      response.body = ResponseBody(contentLength: body.contentLength) { [costs] writer in
        defer { pending.close() }
        try await costs.withScope(pending) { try await body.write(writer) }
      }
      return response
    } catch {
      describe(pending, context, (error as? any HTTPResponseError)?.status.code ?? 500)
      if served == nil { pending.close() }
      throw error
    }
  }

  private func describe(_ pending: PendingRequest, _ context: Context, _ status: Int) {
    pending.describe { details in
      details.endpoint = context.endpointPath
      details.status = status
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
