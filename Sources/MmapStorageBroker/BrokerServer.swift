// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import Glibc
public import LibBPF
public import SystemPackage

/// Sends descriptors of maps and programs to local processes that cannot load BPF programs, over a Unix
/// socket (SCM_RIGHTS).
///
/// ```swift
/// let socket = try BrokerServer.listen(at: "/run/requests.sock", permissions: .ownerReadWrite)
/// let server = try BrokerServer(
///   socket: socket,
///   offers: [BrokerOffer(object, map: "request_tags")],
///   policy: BrokerPolicy(users: [1000])
/// )
/// try server.run()
/// ```
///
/// One thread serves all clients, and does not wait for any of them. It disconnects a client that sends an
/// invalid message, that does not receive a reply, or that sends no request within ten seconds after it connects.
/// A user has at most 32 connections. There are at most 512 in total, and at most 128 of users that are not served.
public final class BrokerServer: Sendable {
  private let socket: CInt
  private let event: CInt
  private let offers: [BrokerOffer]
  private let policy: BrokerPolicy
  private let attachedPrograms: @Sendable () -> [String]
  private let log: BrokerLog

  private static let connectionsPerUser = 32
  private static let connections = 512
  /// Of users that are not served. In a user namespace, a user may have many ids.
  private static let connectionsToRefuse = 128
  private let patience: Int

  /// Creates a server. It serves clients in ``run()``.
  ///
  /// - Parameters:
  ///   - socket: A listening socket of type `SOCK_SEQPACKET`, such as from systemd. The server duplicates
  ///     it.
  ///   - offers: The maps that clients may open.
  ///   - policy: The users and groups that are served.
  ///   - attachedPrograms: Returns the names of the attached programs, for
  ///     ``BrokerClient/attachedPrograms()``. `nil` for the programs of the offers' objects.
  ///   - log: Called with a line for each connection that is refused or ended because of an error, at most twenty
  ///     times a second. The next line is the number of omitted lines.
  /// - Throws: ``/LibBPF/BPFError/Kind/wrongState`` if the socket is closed,
  ///   ``/LibBPF/BPFError/Kind/invalidArgument`` if it is of another type or does not listen,
  ///   ``/LibBPF/BPFError/Kind/outOfResources``.
  public convenience init(
    socket: FileDescriptor,
    offers: [BrokerOffer],
    policy: BrokerPolicy,
    attachedPrograms: (@Sendable () -> [String])? = nil,
    log: @escaping @Sendable (String) -> Void = { _ in }
  ) throws(BPFError) {
    try self.init(
      socket: socket,
      offers: offers,
      policy: policy,
      attachedPrograms: attachedPrograms,
      patience: 10_000,
      log: log
    )
  }

  /// Creates a server that waits `patience` milliseconds for a client's first request.
  package init(
    socket: FileDescriptor,
    offers: [BrokerOffer],
    policy: BrokerPolicy,
    attachedPrograms: (@Sendable () -> [String])? = nil,
    patience: Int,
    log: @escaping @Sendable (String) -> Void
  ) throws(BPFError) {
    let attempt = "start the broker"
    let copy = fcntl(socket.rawValue, F_DUPFD_CLOEXEC, 3)
    guard copy >= 0 else {
      throw BPFError(code: -errno, attempt: attempt, on: "socket \(socket.rawValue)")
    }
    guard isListeningSocket(copy) else {
      closeDescriptor(copy)
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "socket \(socket.rawValue)",
        advice: "it is not a Unix socket of type SOCK_SEQPACKET that listens"
      )
    }
    let event = mms_event()
    guard event >= 0 else {
      closeDescriptor(copy)
      throw BPFError(code: event, attempt: attempt, on: "eventfd")
    }
    // A socket that was passed in may be in blocking mode.
    _ = fcntl(copy, F_SETFL, O_NONBLOCK)
    self.socket = copy
    self.event = event
    self.offers = offers
    self.policy = policy
    self.patience = patience
    self.attachedPrograms =
      attachedPrograms ?? { Set(offers.flatMap(\.attachedPrograms)).sorted() }
    self.log = BrokerLog(log)
  }

  deinit {
    closeDescriptor(socket)
    closeDescriptor(event)
  }

  /// Makes ``run()`` return. May be called from any thread, before or during `run()`.
  public func stop() {
    _ = try? FileDescriptor(rawValue: event).writeAll(UInt64(1).memoryBytes)
  }

  /// Serves clients until ``stop()`` is called.
  ///
  /// - Throws: ``/LibBPF/BPFError`` if the socket fails.
  public func run() throws(BPFError) {
    var clients: [Client] = []
    defer { for client in clients { closeDescriptor(client.descriptor) } }
    /// Until this time no connections are accepted, because descriptors are short.
    var pausedUntil = 0
    while true {
      let now = milliseconds()
      for index in clients.indices.reversed() where clients[index].deadline ?? .max <= now {
        log("disconnected \(clients[index].peer): it sent nothing")
        closeDescriptor(clients.remove(at: index).descriptor)
      }
      var entries = [pollfd(fd: event, events: Int16(POLLIN), revents: 0)]
      entries.append(pollfd(fd: pausedUntil > now ? -1 : socket, events: Int16(POLLIN), revents: 0))
      entries += clients.map { pollfd(fd: $0.descriptor, events: Int16(POLLIN), revents: 0) }
      let wait =
        (clients.compactMap(\.deadline) + (pausedUntil > now ? [pausedUntil] : [])).min()
        .map { max(0, $0 - now) } ?? -1
      let code = pollDescriptors(&entries, milliseconds: CInt(clamping: wait))
      if code < 0 {
        if code == -EINTR { continue }
        throw BPFError(code: code, attempt: "wait for clients", on: "the broker's sockets")
      }
      if entries[0].revents != 0 { return }
      for index in clients.indices.reversed() where entries[2 + index].revents != 0 {
        if !serve(&clients[index]) { closeDescriptor(clients.remove(at: index).descriptor) }
      }
      if entries[1].revents != 0 {
        if entries[1].revents & Int16(POLLNVAL | POLLERR) != 0 {
          throw BPFError(
            .wrongState,
            attempt: "accept a client",
            on: "the broker's socket",
            advice: "it is not a listening socket"
          )
        }
        if try !accept(&clients) { pausedUntil = milliseconds() + 100 }
      }
    }
  }

  private struct Client {
    var descriptor: CInt
    var peer: BrokerPeer
    /// Whether the policy allows the client.
    var isServed: Bool
    /// The time of disconnection unless it sends a request; `nil` after its first request.
    var deadline: Int?
  }

  /// - Returns: Whether the process has descriptors left.
  private func accept(_ clients: inout [Client]) throws(BPFError) -> Bool {
    let descriptor = mms_accept(socket)
    switch -descriptor {
    case _ where descriptor >= 0: break
    case EMFILE, ENFILE, ENOBUFS, ENOMEM:
      log("cannot accept a client: \(Errno(rawValue: -descriptor))")
      return false
    case EAGAIN, EINTR, ECONNABORTED, EPERM: return true
    default:
      throw BPFError(code: descriptor, attempt: "accept a client", on: "the broker's socket")
    }
    guard let peer = BrokerPeer(of: descriptor) else {
      closeDescriptor(descriptor)
      return true
    }
    let isServed = policy.allows(peer)
    guard clients.count < Self.connections,
      isServed || clients.count(where: { !$0.isServed }) < Self.connectionsToRefuse,
      clients.count(where: { $0.peer.user == peer.user }) < Self.connectionsPerUser
    else {
      log("refused \(peer): too many connections")
      _ = send(.failure(.refused, "too many connections"), to: descriptor, [])
      closeDescriptor(descriptor)
      return true
    }
    // The reason is the reply to the first request: an earlier reply could get lost.
    clients.append(
      Client(
        descriptor: descriptor,
        peer: peer,
        isServed: isServed,
        deadline: milliseconds() + patience
      )
    )
    return true
  }

  /// - Returns: Whether the connection stays open.
  private func serve(_ client: inout Client) -> Bool {
    let (length, bytes, _) = receiveMessage(
      client.descriptor,
      atMost: Wire.largestRequest,
      takingDescriptors: false
    )
    if length == -Int(EAGAIN) { return true }
    if length == 0 || length == -Int(ECONNRESET) { return false }
    guard length > 0, let request = Request(bytes[...]) else {
      log("disconnected \(client.peer): it sent an invalid request")
      _ = send(.failure(.malformed, "the request is invalid"), to: client.descriptor, [])
      return false
    }
    guard client.isServed else {
      let reason = "the broker's policy does not serve user \(client.peer.user)"
      log("refused \(client.peer): \(reason)")
      _ = send(.failure(.refused, reason), to: client.descriptor, [])
      return false
    }
    // Descriptors that were not received count towards the broker's limit, and could exhaust it.
    guard isAllReceived(client.descriptor) else {
      log("disconnected \(client.peer): it sent a request before it read the last reply")
      return false
    }
    client.deadline = nil
    switch request {
    case .status:
      return send(.programs(attachedPrograms()), to: client.descriptor, [])
    case .open(let name):
      guard let offer = offers.first(where: { $0.name == name }) else {
        let names = offers.map(\.name).joined(separator: ", ")
        return send(.failure(.notFound, "it offers: \(names)"), to: client.descriptor, [])
      }
      do {
        return try offer.map.withDescriptor { map in
          send(
            .map(offer.grant),
            to: client.descriptor,
            [map.rawValue] + offer.programs.map(\.descriptor)
          )
        }
      } catch {
        return send(.failure(.failed, "\(error)"), to: client.descriptor, [])
      }
    }
  }

  private func send(_ reply: Reply, to descriptor: CInt, _ descriptors: [CInt]) -> Bool {
    let bytes = reply.bytes
    let sent = sendMessage(descriptor, bytes, descriptors: descriptors)
    if sent == -Int(ETOOMANYREFS) {
      log("cannot send descriptors: too many sent descriptors were not received by their clients")
      return send(.failure(.failed, "too many clients open maps; try again"), to: descriptor, [])
    }
    if sent < 0, sent != -Int(EPIPE), sent != -Int(ECONNRESET) {
      log("cannot reply to a client: \(Errno(rawValue: CInt(clamping: -sent)))")
    }
    return sent == bytes.count
  }
}

extension BrokerPeer: CustomStringConvertible {
  var description: String { "process \(process) of user \(user)" }
}
