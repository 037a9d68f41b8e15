// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import Logging
import MmapStorage
import MmapStorageBroker
import ServiceLifecycle
import SystemPackage
import UnixSignals

@main
struct Broker: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "mmapstorage-broker",
    abstract:
      "Loads BPF programs and sends their task storage maps to processes without capabilities.",
    discussion: """
      Needs CAP_BPF and CAP_PERFMON. Uses the socket that systemd passes, or creates one. Clients connect \
      with BrokerClient of the library MmapStorageBroker. Ends with status 0 on SIGTERM and SIGINT.
      """
  )

  @Argument(help: "The object file.")
  var object: String

  @Option(help: "A map to offer. May be repeated. Default: each task storage map of the object.")
  var map: [String] = []

  @Option(help: "Serve this user, by name or id. May be repeated.")
  var user: [String] = []

  @Option(help: "Serve members of this group, by name or id. May be repeated.")
  var group: [String] = []

  @Option(
    help: """
      Create this socket, also in place of one without a listener. Default: the socket from systemd.
      """
  )
  var socket: String?

  @Option(help: "The permissions of the created socket, in octal.")
  var socketMode = "0666"

  @Option(help: "Pin maps, programs and links in this directory, and use existing pins.")
  var pins: String?

  @Option(help: "Members of this group may open the pins. Default: the broker's user only.")
  var pinGroup: String?

  @Flag(help: "Replace the pins if they do not match the object.")
  var replace = false

  @Flag(help: "Clients may only look values up. Needs CAP_SYS_ADMIN.")
  var readOnly = false

  func validate() throws {
    guard !user.isEmpty || !group.isEmpty else {
      throw ValidationError("pass the users or groups to serve with --user or --group")
    }
    guard let mode = UInt32(socketMode, radix: 8), mode <= 0o777 else {
      throw ValidationError("--socket-mode is an octal number up to 0777")
    }
    if socket?.hasPrefix("@") == true {
      throw ValidationError("--socket is a path; abstract sockets are not supported")
    }
    if replace, pins == nil { throw ValidationError("--replace needs --pins") }
    if pinGroup != nil, pins == nil { throw ValidationError("--pin-group needs --pins") }
  }

  func run() async throws {
    // The process that reads the log may end first.
    signal(SIGPIPE, SIG_IGN)
    let policy = BrokerPolicy(
      users: Set(try user.map(Self.userID)),
      groups: Set(try group.map(Self.groupID))
    )
    let pinAttributes = try pinGroup.map { BPFPinAttributes.group(try Self.groupID($0)) }
    let logger = Logger(label: "mmapstorage-broker")
    // If another broker listens there, its pins must stay.
    let listener = try listeningSocket(logger)
    let created = socket.flatMap(Self.identity)
    // Another broker may have created a socket there meanwhile.
    defer { if let socket, created != nil, Self.identity(of: socket) == created { unlink(socket) } }
    let opened = try BPFObject(contentsOf: FilePath(object))
    // Before programs are attached, which pinned links would keep attached.
    let declared = opened.mapNames
    for name in map where !declared.contains(name) {
      throw BrokerError(
        "the object has no map '\(name)'; its maps are: \(declared.joined(separator: ", "))"
      )
    }
    if let pins {
      try opened.loadAndAttach(
        pinnedIn: FilePath(pins),
        attributes: pinAttributes ?? BPFPinAttributes(),
        ifDifferent: replace ? .replace : .refuse
      )
    } else {
      try opened.load()
      try opened.attach()
    }
    let names =
      map.isEmpty
      ? try opened.maps().filter { try $0.info.type == .taskStorage }.map(\.name) : map
    guard !names.isEmpty else { throw BrokerError("the object has no task storage map to offer") }
    let attached = try pins.map {
      try Self.attachedPrograms(of: opened, names, BPFPinDirectory(FilePath($0)))
    }
    let offers = try names.map { try BrokerOffer(opened, map: $0, isReadOnly: readOnly) }

    let server = try BrokerServer(
      socket: listener,
      offers: offers,
      policy: policy,
      attachedPrograms: attached,
      log: { logger.warning("\($0)") }
    )
    logger.info(
      "offering maps",
      metadata: ["maps": .array(names.map { .string($0) })]
    )
    let group = ServiceGroup(
      configuration: .init(
        services: [BrokerService(server: server)],
        gracefulShutdownSignals: [.sigterm, .sigint],
        logger: logger
      )
    )
    try await group.run()
  }

  private func listeningSocket(_ logger: Logger) throws -> FileDescriptor {
    if let socket {
      let mode = UInt32(socketMode, radix: 8) ?? 0o666
      return try BrokerServer.listen(
        at: FilePath(socket),
        permissions: FilePermissions(rawValue: mode),
        log: { logger.notice("\($0)") }
      )
    }
    // sd_listen_fds(3)
    let count = environment("LISTEN_FDS") ?? "0"
    guard environment("LISTEN_PID") == "\(getpid())", count != "0" else {
      throw BrokerError("no socket from systemd; start it with the socket unit, or pass --socket")
    }
    guard count == "1" else {
      throw BrokerError("\(count) sockets from systemd; the broker takes one")
    }
    let descriptor = FileDescriptor(rawValue: 3)
    func option(_ name: CInt) -> CInt? {
      var value: CInt = 0
      var size = socklen_t(MemoryLayout.size(ofValue: value))
      return getsockopt(descriptor.rawValue, SOL_SOCKET, name, &value, &size) == 0 ? value : nil
    }
    guard option(SO_TYPE) == CInt(SOCK_SEQPACKET.rawValue) else {
      throw BrokerError("the socket from systemd is of another type; use ListenSequentialPacket=")
    }
    guard option(SO_ACCEPTCONN) == 1 else {
      throw BrokerError("the socket from systemd is a connection; use Accept=no")
    }
    return descriptor
  }

  /// The attached programs that use these maps. With `--replace`, another broker may have replaced
  /// the pinned maps, whose programs use the new maps.
  private static func attachedPrograms(
    of object: BPFObject,
    _ maps: [String],
    _ pins: BPFPinDirectory
  ) throws -> @Sendable () -> [String] {
    let own = try maps.map { (path: pins.map($0), id: try object.map($0).info.id) }
    return {
      let arePinned = own.allSatisfy { map in
        (try? BPFMap(pinnedAt: map.path, readOnly: true).info.id) == map.id
      }
      return arePinned ? (try? pins.attachedPrograms()) ?? [] : []
    }
  }

  /// Distinguishes a file from a later one at the same path, while it is open.
  private static func identity(of path: String) -> [UInt64]? {
    var info = stat()
    return lstat(path, &info) == 0 ? [UInt64(info.st_dev), UInt64(info.st_ino)] : nil
  }

  private func environment(_ name: String) -> String? { getenv(name).map { String(cString: $0) } }

  /// The id that a text of digits names; `nil` for a name.
  private static func numericID(_ text: String) throws -> UInt32? {
    guard let id = UInt32(text) else { return nil }
    // -1, which is "unchanged" in chown(2), and the user of a socket without a peer.
    guard id != .max else { throw BrokerError("\(text) is not the id of a user or group") }
    return id
  }

  private static func userID(_ text: String) throws -> UInt32 {
    if let id = try numericID(text) { return id }
    guard let entry = getpwnam(text) else { throw BrokerError("there is no user '\(text)'") }
    return entry.pointee.pw_uid
  }

  private static func groupID(_ text: String) throws -> UInt32 {
    if let id = try numericID(text) { return id }
    guard let entry = getgrnam(text) else { throw BrokerError("there is no group '\(text)'") }
    return entry.pointee.gr_gid
  }
}

struct BrokerError: Error, CustomStringConvertible {
  var description: String

  init(_ description: String) { self.description = description }
}

/// Runs the server on a separate thread until the service is shut down.
struct BrokerService: Service {
  let server: BrokerServer

  func run() async throws {
    try await withGracefulShutdownHandler {
      try await withCheckedThrowingContinuation { continuation in
        let call = ThreadCall {
          continuation.resume(with: Result { try server.run() })
        }
        if let error = call.start() { continuation.resume(throwing: error) }
      }
    } onGracefulShutdown: {
      server.stop()
    }
  }
}

/// A closure that a new thread runs.
private final class ThreadCall {
  private let body: () -> Void

  init(_ body: @escaping () -> Void) { self.body = body }

  /// - Returns: The error if no thread can be created; `body` does not run then.
  func start() -> Errno? {
    let retained = Unmanaged.passRetained(self)
    var thread = pthread_t()
    let code = pthread_create(
      &thread,
      nil,
      { argument in
        guard let argument else { return nil }
        Unmanaged<ThreadCall>.fromOpaque(argument).takeRetainedValue().body()
        return nil
      },
      retained.toOpaque()
    )
    guard code != 0 else {
      pthread_detach(thread)
      return nil
    }
    retained.release()
    return Errno(rawValue: code)
  }
}
