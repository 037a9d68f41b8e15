// SPDX-License-Identifier: Apache-2.0
import NIOCore
import NIOHTTPTypes

/// The first handler of a connection: what follows a read is in it.
final class ReadHandler: ChannelInboundHandler, RemovableChannelHandler {
  typealias InboundIn = NIOAny

  private let connection: CountedConnection

  init(_ connection: CountedConnection) { self.connection = connection }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    connection.read { context.fireChannelRead(data) }
  }

  func channelReadComplete(context: ChannelHandlerContext) {
    connection.completeRead { context.fireChannelReadComplete() }
  }
}

/// Behind the HTTP codec: sees where requests and responses begin and end.
final class PartHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  private let connection: CountedConnection

  init(_ connection: CountedConnection) { self.connection = connection }

  func channelRead(context: ChannelHandlerContext, data: NIOAny) {
    switch unwrapInboundIn(data) {
    case .head: connection.readHead()
    case .body: break
    case .end: connection.readEnd()
    }
    context.fireChannelRead(data)
  }

  func write(context: ChannelHandlerContext, data: NIOAny, promise: EventLoopPromise<Void>?) {
    guard case .end = unwrapOutboundIn(data) else {
      return connection.write { context.write(data, promise: promise) }
    }
    let promise = promise ?? context.eventLoop.makePromise(of: Void.self)
    connection.write { context.write(data, promise: promise) }
    connection.writeEnd(promise.futureResult)
  }

  func flush(context: ChannelHandlerContext) {
    connection.flush {
      context.flush()
      let buffered = try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)
      return buffered ?? 0 == 0
    }
  }

  func handlerRemoved(context: ChannelHandlerContext) { connection.close() }
}
