/// The bytes of a compiled BPF object that travel with the program, as the build plugin makes them.
public struct BPFObjectImage: Sendable {
  /// The object's name.
  public let name: String
  /// The ELF file.
  public var bytes: [UInt8]

  /// Creates an image.
  public init(name: String, bytes: [UInt8]) {
    self.name = name
    self.bytes = bytes
  }
}
