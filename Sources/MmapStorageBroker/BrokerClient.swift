// SPDX-License-Identifier: Apache-2.0
internal import Glibc
public import LibBPF
public import MmapStorage
internal import Synchronization
public import SystemPackage

/// A connection to a broker, from which a process without capabilities receives maps.
///
/// ```swift
/// let broker = try BrokerClient(connectingTo: "/run/requests.sock")
/// let tags = try TaskLocalStorage<RequestTag>(from: broker, "request_tags")
/// ```
///
/// A map stays usable when the broker ends. To detect the end of the broker, keep the connection: see
/// ``isConnected`` and ``attachedPrograms()``. A client may be used from any thread; calls are serialized. A child
/// of `fork` must connect again.
public final class BrokerClient: Sendable {
  /// The path of the socket.
  let path: FilePath
  private let descriptor: CInt
  private let timeout: Int
  /// A child of `fork` would receive its parent's replies.
  private let process = getpid()
  private let lock = ForkSafeLock()
  private let state = Atomic(State.usable)

  private enum State: UInt8, AtomicRepresentable {
    case usable
    /// The reply to an earlier request has not been received.
    case waiting
    case malformed, closed
  }

  /// Connects to a broker.
  ///
  /// - Parameters:
  ///   - path: The path of the broker's socket.
  ///   - timeout: The maximum time that each call waits for a reply, with a resolution of a millisecond. After a
  ///     timeout, the next call first waits for the late reply, for the same time at most, and discards it.
  /// - Throws: ``/LibBPF/BPFError/Kind/notFound`` if there is no socket,
  ///   ``/LibBPF/BPFError/Kind/permissionDenied``, or another system error.
  public init(
    connectingTo path: FilePath,
    timeout: Duration = .seconds(5)
  ) throws(BPFError) {
    let longest = Duration.milliseconds(UInt32.max)
    let timeout = UInt32((min(max(timeout, .zero), longest) / .milliseconds(1)).rounded(.up))
    let descriptor = connectSocket(to: path, timeout: timeout)
    guard descriptor >= 0 else {
      let advice: String? =
        switch Errno(rawValue: -descriptor) {
        case .noSuchFileOrDirectory: "no broker has created this socket"
        case .connectionRefused: "no broker listens there; start it"
        case .permissionDenied: "connecting needs write permission for the socket"
        case .protocolWrongTypeForSocket: "the socket is not a broker's: it is not SOCK_SEQPACKET"
        case .fileNameTooLong: "the path of a socket has at most 107 bytes"
        default: nil
        }
      throw BPFError(
        code: descriptor,
        attempt: "connect to the broker",
        on: "path '\(path)'",
        advice: advice
      )
    }
    self.descriptor = descriptor
    self.path = path
    self.timeout = Int(timeout)
  }

  deinit { closeDescriptor(descriptor) }

  /// Whether the connection can be used. It cannot if the broker has ended or has closed it, if an earlier
  /// reply was malformed, or if this is a child of the process that connected. The connection to a stopped or
  /// busy broker can be used. Costs two system calls.
  public var isConnected: Bool {
    process == getpid() && [.usable, .waiting].contains(state.load(ordering: .relaxed))
      && !isHungUp(descriptor)
  }

  /// Returns the names of the attached programs. If a program is missing, it was detached, and the values that
  /// it writes no longer change.
  ///
  /// - Throws: ``/LibBPF/BPFError/Kind/wrongState`` if the broker has ended, or another error of the
  ///   connection.
  public func attachedPrograms() throws(BPFError) -> [String] {
    let attempt = "request the attached programs"
    let (reply, descriptors) = try ask(.status, attempt)
    for descriptor in descriptors { closeDescriptor(descriptor) }
    guard case .programs(let names) = reply else { throw malformed(attempt) }
    return names
  }

  /// Opens a map that the broker offers.
  ///
  /// - Parameter name: The name of the offer.
  /// - Returns: The map, with its layout.
  /// - Throws: ``/LibBPF/BPFError/Kind/permissionDenied`` if the broker does not serve this user,
  ///   ``/LibBPF/BPFError/Kind/notFound`` if it has no such offer, ``/LibBPF/BPFError/Kind/invalidArgument``
  ///   if the name has more than 255 bytes, ``/LibBPF/BPFError/Kind/wrongState`` if it has ended,
  ///   ``/LibBPF/BPFError/Kind/invalidObject`` if its reply is inconsistent, or an
  ///   error of the connection.
  public func open(_ name: String) throws(BPFError) -> BrokeredMap {
    let attempt = "open map '\(name)'"
    guard name.utf8.count <= Wire.longestName else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "broker '\(path)'",
        advice: "a name has at most \(Wire.longestName) bytes"
      )
    }
    let (reply, descriptors) = try ask(.open(name), attempt)
    guard case .map(let grant) = reply, descriptors.count == grant.descriptorCount else {
      for descriptor in descriptors { closeDescriptor(descriptor) }
      throw malformed(attempt)
    }
    return try BrokeredMap(grant, descriptors, attempt: attempt, on: "broker '\(path)'")
  }

  private func ask(_ request: Request, _ attempt: String) throws(BPFError) -> (Reply, [CInt]) {
    guard process == getpid() else {
      throw BPFError(
        .wrongState,
        attempt: attempt,
        on: "broker '\(path)'",
        advice: "process \(process) has connected, and this is a child of it; connect again"
      )
    }
    return try lock.withLock { () throws(BPFError) in
      let message = request.bytes
      var after = state.load(ordering: .relaxed)
      defer { state.store(after, ordering: .relaxed) }
      switch after {
      case .usable: break
      case .waiting:
        // Otherwise the late reply would be used for this request.
        for descriptor in try receive(attempt, &after).descriptors { closeDescriptor(descriptor) }
      case .closed: throw failed(-EPIPE, attempt)
      case .malformed:
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: "broker '\(path)'",
          advice: "an earlier reply was malformed; connect again"
        )
      }
      var sent = sendMessage(descriptor, message)
      if sent == -Int(EAGAIN) {
        awaitEvents(POLLOUT, of: descriptor, until: milliseconds() + timeout)
        sent = sendMessage(descriptor, message)
      }
      // A broker that rejects a client sends the reason and closes the connection, so receive it
      // first.
      if sent < 0, sent != -Int(EPIPE), sent != -Int(ECONNRESET) {
        throw failed(CInt(clamping: sent), attempt)
      }
      let (bytes, received) = try receive(attempt, &after)
      guard let reply = Reply(bytes[...]) else {
        for descriptor in received { closeDescriptor(descriptor) }
        after = .malformed
        throw malformed(attempt)
      }
      guard case .failure(let failure, let text) = reply else { return (reply, received) }
      for descriptor in received { closeDescriptor(descriptor) }
      let kind: BPFError.Kind =
        switch failure {
        case .refused: .permissionDenied
        case .notFound: .notFound
        case .malformed, .failed: .system
        }
      throw BPFError(kind, attempt: attempt, on: "broker '\(path)'", advice: text)
    }
  }

  /// Receives a reply, of at least one byte. The caller closes the descriptors.
  private func receive(
    _ attempt: String,
    _ after: inout State
  ) throws(BPFError) -> (bytes: [UInt8], descriptors: [CInt]) {
    let deadline = milliseconds() + timeout
    func receive() -> (size: Int, bytes: [UInt8], descriptors: [CInt]) {
      awaitEvents(POLLIN, of: descriptor, until: deadline)
      return receiveMessage(descriptor, atMost: Wire.largestReply, takingDescriptors: true)
    }
    var (length, bytes, descriptors) = receive()
    if length == -Int(ECONNRESET) {
      // The broker closed the connection before it read the request. Its last message comes next.
      (length, bytes, descriptors) = receive()
    }
    after =
      switch -length {
      // With EMFILE, the reply was received without its descriptors.
      case ..<0, Int(EMFILE): .usable
      case Int(EAGAIN): .waiting
      case 0, Int(ECONNRESET), Int(EPIPE): .closed
      default: .malformed
      }
    if length > 0 { return (bytes, descriptors) }
    // A message without bytes may contain descriptors.
    for descriptor in descriptors { closeDescriptor(descriptor) }
    if length == -Int(EMSGSIZE) { throw malformed(attempt) }
    throw failed(length == 0 ? -EPIPE : CInt(clamping: length), attempt)
  }

  private func failed(_ code: CInt, _ attempt: String) -> BPFError {
    let errno = Errno(rawValue: -code)
    switch errno {
    case .brokenPipe, .connectionReset:
      return BPFError(
        .wrongState,
        attempt: attempt,
        on: "broker '\(path)'",
        errno: errno,
        advice: "the broker has ended or has closed the connection; connect again"
      )
    case .resourceTemporarilyUnavailable:
      return BPFError(
        .system,
        attempt: attempt,
        on: "broker '\(path)'",
        errno: errno,
        advice: "the broker did not reply in time"
      )
    default:
      return BPFError(errno: errno, attempt: attempt, on: "broker '\(path)'")
    }
  }

  private func malformed(_ attempt: String) -> BPFError {
    BPFError(
      .invalidObject,
      attempt: attempt,
      on: "broker '\(path)'",
      advice: "its reply is malformed, or of another version of the protocol"
    )
  }
}

/// A map from a broker, with the layout that the broker sent.
///
/// Storages that are created over the map while this object exists use the programs that the broker sent. May
/// be used from any thread.
public final class BrokeredMap: Sendable {
  /// The map.
  public let map: BPFMap
  /// The layout of its values, from the type information that the broker sent.
  public let layout: ValueLayout
  private let lease: LookupProgramsLease?
  private let comparison: ComparisonLease?

  /// Takes ownership of the descriptors, even if it throws.
  init(
    _ grant: Reply.Grant,
    _ descriptors: [CInt],
    attempt: String,
    on subject: String
  ) throws(BPFError) {
    var open = descriptors
    defer { for descriptor in open { closeDescriptor(descriptor) } }
    let map = try BPFMap(adopting: FileDescriptor(rawValue: open[0]))
    open.removeFirst()
    let info = try map.info
    guard info.type == .taskStorage, info.btfValueTypeID == grant.valueTypeID else {
      throw BPFError(
        .invalidObject,
        attempt: attempt,
        on: subject,
        advice: "the type information that it sent is not that of the map"
      )
    }
    let btf = try BTF(bytes: grant.btf, name: grant.name)
    var layout = try btf.valueLayout(ofType: grant.valueTypeID, size: info.valueSize)
    if grant.userPageTypeID != 0 { layout.userPageTypeID = grant.userPageTypeID }
    // Programs from the broker run only on this process's threads, with its own arguments.
    var programs: [BPFProgram] = []
    for descriptor in open {
      let program = try BPFProgram(duplicating: FileDescriptor(rawValue: descriptor))
      guard try program.info.type == bpfProgramTypeSyscall else {
        throw BPFError(
          .invalidObject,
          attempt: attempt,
          on: subject,
          advice: "it sent a program of another type"
        )
      }
      programs.append(program)
    }
    comparison =
      grant.hasComparison ? programs.popLast().map { ComparisonLease(info.id, $0) } : nil
    lease =
      grant.hasLookupPrograms && programs.count == 3
      ? LookupProgramsLease(adopting: programs, for: map, info) : nil
    self.map = map
    self.layout = layout
  }
}

/// `BPF_PROG_TYPE_SYSCALL`.
private let bpfProgramTypeSyscall: UInt32 = 31

extension TaskLocalStorage {
  /// Creates a storage over a map that a broker offers.
  ///
  /// The layout of `Value` is checked against the type information that the broker sent. The process
  /// needs no capability.
  ///
  /// - Parameters:
  ///   - broker: The connection.
  ///   - name: The name of the offer.
  ///   - policy: Whether the map's value may have trailing fields that `Value` does not have.
  /// - Throws: ``/LibBPF/BPFError``, as ``BrokerClient/open(_:)`` and
  ///   ``/MmapStorage/TaskLocalStorage/init(map:policy:layout:allowing:)``.
  public convenience init(
    from broker: BrokerClient,
    _ name: String,
    policy: LayoutPolicy = .exact
  ) throws(BPFError) {
    let opened = try broker.open(name)
    try self.init(map: opened.map, policy: policy, layout: opened.layout)
  }
}
