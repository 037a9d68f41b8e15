// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF
internal import SystemPackage

/// The messages between a broker and its clients: one request, one reply, each one message of a socket
/// of type `SOCK_SEQPACKET`. Integers are in the byte order of the machine.
enum Wire {
  static let magic: UInt32 = 0x4253_4D4D  // "MMSB"
  static let version: UInt8 = 1
  /// The largest request: a header and a name.
  static let largestRequest = 512
  /// The largest reply: a header and the type information of an object.
  static let largestReply = 160 << 10
  static let longestName = 255
}

/// A client's request.
enum Request: Equatable {
  /// The map that is offered with this name.
  case open(String)
  /// The names of the attached programs.
  case status

  var bytes: [UInt8] {
    var writer = ByteWriter()
    writer.add(Wire.magic)
    writer.add(Wire.version)
    switch self {
    case .open(let name):
      writer.add(UInt8(1))
      writer.add(name)
    case .status:
      writer.add(UInt8(2))
    }
    return writer.bytes
  }

  /// - Returns: `nil` if the bytes are not a request.
  init?(_ bytes: ArraySlice<UInt8>) {
    var reader = ByteReader(bytes)
    guard reader.read(UInt32.self) == Wire.magic, reader.read(UInt8.self) == Wire.version,
      let kind = reader.read(UInt8.self)
    else { return nil }
    switch kind {
    case 1:
      guard let name = reader.readText(atMost: Wire.longestName) else { return nil }
      self = .open(name)
    case 2: self = .status
    default: return nil
    }
    guard reader.isAtEnd else { return nil }
  }
}

/// A broker's reply.
enum Reply: Equatable {
  case map(Grant)
  case programs([String])
  case failure(Failure, String)

  enum Failure: UInt8 {
    case refused = 1
    case notFound = 2
    case malformed = 3
    case failed = 4
  }

  /// A map. Its descriptor and those of the programs are in the message.
  struct Grant: Equatable {
    var name: String
    /// The value's type in `btf`, and in the kernel's type information of the map.
    var valueTypeID: UInt32
    var userPageTypeID: UInt32
    /// Whether descriptors of the programs for lookups follow the map's.
    var hasLookupPrograms: Bool
    /// Whether the descriptor of the program that compares user pages is the last one.
    var hasComparison: Bool
    var btf: [UInt8]

    var descriptorCount: Int { 1 + (hasLookupPrograms ? 3 : 0) + (hasComparison ? 1 : 0) }
  }

  var bytes: [UInt8] {
    var writer = ByteWriter()
    writer.add(Wire.magic)
    writer.add(Wire.version)
    switch self {
    case .map(let grant):
      writer.add(UInt8(10))
      writer.add(grant.name)
      writer.add(grant.valueTypeID)
      writer.add(grant.userPageTypeID)
      writer.add(UInt8(grant.hasLookupPrograms ? 1 : 0))
      writer.add(UInt8(grant.hasComparison ? 1 : 0))
      writer.add(UInt32(grant.btf.count))
      writer.bytes += grant.btf
    case .programs(let names):
      writer.add(UInt8(11))
      writer.add(UInt16(min(names.count, 1024)))
      for name in names.prefix(1024) { writer.add(name) }
    case .failure(let failure, let text):
      writer.add(failure.rawValue)
      writer.add(text)
    }
    return writer.bytes
  }

  /// - Returns: `nil` if the bytes are not a reply.
  init?(_ bytes: ArraySlice<UInt8>) {
    var reader = ByteReader(bytes)
    guard reader.read(UInt32.self) == Wire.magic, reader.read(UInt8.self) == Wire.version,
      let kind = reader.read(UInt8.self)
    else { return nil }
    switch kind {
    case 10:
      guard let name = reader.readText(atMost: Wire.longestName),
        let value = reader.read(UInt32.self), let page = reader.read(UInt32.self),
        let lookups = reader.read(UInt8.self), let comparison = reader.read(UInt8.self),
        lookups <= 1, comparison <= 1, let count = reader.read(UInt32.self),
        let btf = reader.readBytes(Int(count))
      else { return nil }
      self = .map(
        Grant(
          name: name,
          valueTypeID: value,
          userPageTypeID: page,
          hasLookupPrograms: lookups == 1,
          hasComparison: comparison == 1,
          btf: btf
        )
      )
    case 11:
      guard let count = reader.read(UInt16.self), count <= 1024 else { return nil }
      var names: [String] = []
      for _ in 0..<count {
        guard let name = reader.readText(atMost: Wire.longestName) else { return nil }
        names.append(name)
      }
      self = .programs(names)
    default:
      guard let failure = Failure(rawValue: kind), let text = reader.readText(atMost: 4096) else {
        return nil
      }
      self = .failure(failure, text)
    }
    guard reader.isAtEnd else { return nil }
  }
}

/// Builds a message.
struct ByteWriter {
  var bytes: [UInt8] = []

  mutating func add(_ number: some FixedWidthInteger) {
    bytes += number.memoryBytes
  }

  /// Adds the length and the text, which is truncated to 4096 bytes.
  mutating func add(_ text: String) {
    let utf8 = text.utf8.prefix(4096)
    add(UInt16(utf8.count))
    bytes += utf8
  }
}

/// Reads an untrusted message: each step fails at the end of the message.
struct ByteReader {
  private var rest: ArraySlice<UInt8>

  init(_ bytes: ArraySlice<UInt8>) { rest = bytes }

  var isAtEnd: Bool { rest.isEmpty }

  mutating func read<Number: FixedWidthInteger>(_: Number.Type) -> Number? {
    let size = MemoryLayout<Number>.size
    guard rest.count >= size else { return nil }
    let number = Number(memoryBytes: rest)
    rest = rest.dropFirst(size)
    return number
  }

  mutating func readBytes(_ count: Int) -> [UInt8]? {
    guard count >= 0, rest.count >= count else { return nil }
    defer { rest = rest.dropFirst(count) }
    return Array(rest.prefix(count))
  }

  mutating func readText(atMost limit: Int) -> String? {
    guard let count = read(UInt16.self), count <= limit, let bytes = readBytes(Int(count)) else {
      return nil
    }
    return String(validating: bytes, as: UTF8.self)
  }
}
