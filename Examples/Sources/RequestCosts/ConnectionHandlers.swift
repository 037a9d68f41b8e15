// SPDX-License-Identifier: Apache-2.0
import NIOCore
import NIOHTTPTypes

/// The first handler of a connection. The handlers after it run inside of its reads.
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

/// The handler after the HTTP codec: detects the beginnings and ends of requests and responses.
final class PartHandler: ChannelDuplexHandler, RemovableChannelHandler {
  typealias InboundIn = HTTPRequestPart
  typealias InboundOut = HTTPRequestPart
  typealias OutboundIn = HTTPResponsePart
  typealias OutboundOut = HTTPResponsePart

  private let connection: CountedConnection
  /// The parts before a flush, to write all in one scope.
  private var writes: [Write] = []

  private struct Write {
    var data: NIOAny
    var promise: EventLoopPromise<Void>?
    var isEnd: Bool
  }

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
      writes.append(Write(data: data, promise: promise, isEnd: false))
      return
    }
    let promise = promise ?? context.eventLoop.makePromise(of: Void.self)
    writes.append(Write(data: data, promise: promise, isEnd: true))
  }

  func flush(context: ChannelHandlerContext) {
    let isBehind = hasBytesToWrite(context)
    var rest = takeWrites()[...]
    while let end = rest.dropLast().firstIndex(where: \.isEnd) {
      connection.write { write(rest[...end], context) }
      endResponse(rest[end])
      rest = rest[(end + 1)...]
    }
    connection.flush(isBehind: isBehind) {
      write(rest, context)
      context.flush()
      return !hasBytesToWrite(context)
    }
    endResponse(rest.last)
  }

  func handlerRemoved(context: ChannelHandlerContext) {
    for write in takeWrites() { write.promise?.fail(ChannelError.ioOnClosedChannel) }
    connection.close()
  }

  private func hasBytesToWrite(_ context: ChannelHandlerContext) -> Bool {
    (try? context.channel.syncOptions?.getOption(.bufferedWritableBytes)) ?? 0 != 0
  }

  private func takeWrites() -> [Write] {
    defer { writes.removeAll(keepingCapacity: true) }
    return writes
  }

  private func write(_ writes: ArraySlice<Write>, _ context: ChannelHandlerContext) {
    for write in writes { context.write(write.data, promise: write.promise) }
  }

  private func endResponse(_ write: Write?) {
    guard let write, write.isEnd, let promise = write.promise else { return }
    connection.writeEnd(promise.futureResult)
  }
}
