// SPDX-License-Identifier: Apache-2.0
/// A BPF object file that `BPFPlugin` compiled from a `*.bpf.c` file and embedded in the executable.
///
/// The plugin compiles `request-tags.bpf.c` and adds `BPFObjectImage.requestTags` to the same
/// module, so no file is read at run time. May be used from any thread.
public struct BPFObjectImage: Sendable {
  /// The name of the source file, without `.bpf.c`.
  package let name: String

  private let hex: StaticString

  /// Creates an image, for code that `BPFPlugin` generates.
  ///
  /// If the digits are not a hexadecimal number of whole bytes, the image is empty. Opening an empty image
  /// fails with ``BPFError/Kind/invalidObject``.
  ///
  /// - Parameters:
  ///   - name: The name of the source file, without `.bpf.c`.
  ///   - hex: The bytes of the object file, two hexadecimal digits each.
  @_spi(Generated)
  public init(name: String, hex: StaticString) {
    self.name = name
    self.hex = hex
  }

  /// The bytes of the object file; empty if the digits were not valid.
  ///
  /// - Complexity: O(*n*) in the size of the file: each call decodes it again.
  public var bytes: [UInt8] {
    let digits = Array(hex.description.utf8)
    guard digits.count.isMultiple(of: 2) else { return [] }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(digits.count / 2)
    for index in stride(from: 0, to: digits.count, by: 2) {
      guard let high = nibble(digits[index]), let low = nibble(digits[index + 1]) else {
        return []
      }
      bytes.append(high << 4 | low)
    }
    return bytes
  }
}

private func nibble(_ digit: UInt8) -> UInt8? {
  switch digit {
  case UInt8(ascii: "0")...UInt8(ascii: "9"): digit - UInt8(ascii: "0")
  case UInt8(ascii: "a")...UInt8(ascii: "f"): digit - UInt8(ascii: "a") + 10
  case UInt8(ascii: "A")...UInt8(ascii: "F"): digit - UInt8(ascii: "A") + 10
  default: nil
  }
}
