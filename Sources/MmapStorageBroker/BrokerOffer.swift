// SPDX-License-Identifier: Apache-2.0
public import LibBPF
internal import MmapStorage
internal import SystemPackage

/// A map that a broker offers to its clients.
public struct BrokerOffer: Sendable {
  /// The name that clients pass to ``BrokerClient/open(_:)``.
  let name: String
  let map: BPFMap
  let grant: Reply.Grant
  let programs: [BPFProgram]
  let lease: LookupProgramsLease?
  private let object: BPFObject

  /// The names of the object's programs that are attached.
  public var attachedPrograms: [String] { object.attachedPrograms }

  /// Offers a map of a loaded object.
  ///
  /// The client receives the map's descriptor, the type information of the object, and programs. With these, it
  /// reads and writes its own value and verifies its own page. It need not load programs.
  ///
  /// - Parameters:
  ///   - object: A loaded object. Its programs stay attached while the offer exists.
  ///   - mapName: The name of a task storage map in the object.
  ///   - name: The name for clients, of at most 255 bytes; `nil` for the name of the map.
  ///   - isReadOnly: Whether clients may only look values up. The map is then opened a second time by
  ///     its id, which needs CAP_SYS_ADMIN. Threads of clients cannot write their values, and with user
  ///     pages they have no values.
  /// - Throws: ``/LibBPF/BPFError`` if the map does not exist or is not of task storage, its type
  ///   information is larger than 128 KiB, or the programs cannot be loaded.
  public init(
    _ object: BPFObject,
    map mapName: String,
    as name: String? = nil,
    isReadOnly: Bool = false
  ) throws(BPFError) {
    let attempt = "offer map '\(mapName)'"
    let map = try object.map(mapName)
    let info = try map.info
    let layout = try object.layout(ofMap: mapName)
    guard info.type == .taskStorage, let btf = object.btf else {
      throw BPFError(
        .wrongType,
        attempt: attempt,
        on: "object '\(object.name)'",
        advice: "only task storage maps with type information can be offered"
      )
    }
    let bytes = btf.rawBytes
    guard mapName.utf8.count <= Wire.longestName, (name ?? "").utf8.count <= Wire.longestName else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "object '\(object.name)'",
        advice: "a name has at most \(Wire.longestName) bytes"
      )
    }
    guard bytes.count <= 128 << 10 else {
      throw BPFError(
        .invalidArgument,
        attempt: attempt,
        on: "object '\(object.name)'",
        advice:
          "its type information has \(bytes.count) bytes, and the maximum is 131072; compile the "
          + "program without a complete vmlinux.h"
      )
    }
    var programs: [BPFProgram] = []
    var lease: LookupProgramsLease?
    if layout.isInUserPage {
      programs = [try InspectedMap.loadComparison(for: map, layout)]
    } else if !info.flags.contains(.mmapable), !isReadOnly {
      let loaded = try LookupProgramsLease(loadingFor: map, info)
      programs = loaded.descriptors
      lease = loaded
    }
    self.map = isReadOnly ? try BPFMap(id: info.id, readOnly: true) : map
    self.name = name ?? mapName
    self.programs = programs
    self.object = object
    self.lease = lease
    grant = Reply.Grant(
      name: mapName,
      valueTypeID: info.btfValueTypeID,
      userPageTypeID: layout.userPageTypeID ?? 0,
      hasLookupPrograms: programs.count == 3,
      hasComparison: programs.count == 1,
      btf: bytes
    )
  }
}

/// The users and groups that a broker serves.
public struct BrokerPolicy: Sendable, Hashable {
  /// The user ids that are served.
  var users: Set<UInt32>
  /// The group ids whose members are served. The primary and supplementary groups of a process are
  /// checked.
  var groups: Set<UInt32>

  /// Creates a policy. By default, no user is served, not even root.
  ///
  /// - Parameters:
  ///   - users: The user ids that are served.
  ///   - groups: The group ids whose members are served. The primary and supplementary groups of a process are
  ///     checked.
  public init(users: Set<UInt32> = [], groups: Set<UInt32> = []) {
    self.users = users
    self.groups = groups
  }

  func allows(_ peer: BrokerPeer) -> Bool {
    users.contains(peer.user) || groups.contains(peer.group)
      || !groups.isDisjoint(with: peer.supplementaryGroups)
  }
}

/// The peer process of a connection, from the kernel (`SO_PEERCRED`).
struct BrokerPeer: Sendable {
  var user: UInt32
  var group: UInt32
  var supplementaryGroups: [UInt32]
  var process: Int32
}
