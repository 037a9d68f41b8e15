// SPDX-License-Identifier: Apache-2.0
@_spi(Generated) import MmapStorage
import Testing

@Suite struct BPFObjectImageTests {
  @Test func `digits of either case are bytes`() {
    let image = BPFObjectImage(name: "hello", hex: "007f45fFAb")
    #expect(image.name == "hello")
    #expect(image.bytes == [0x00, 0x7f, 0x45, 0xff, 0xab])
  }

  @Test(arguments: [
    BPFObjectImage(name: "odd", hex: "7f4"),
    BPFObjectImage(name: "no digits", hex: "7f4g"),
    BPFObjectImage(name: "a character of two bytes", hex: "7fé"),
    BPFObjectImage(name: "nothing", hex: ""),
  ])
  func `what is no hexadecimal number has no bytes`(image: BPFObjectImage) {
    #expect(image.bytes.isEmpty)
  }
}
