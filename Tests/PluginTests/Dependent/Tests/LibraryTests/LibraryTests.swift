// SPDX-License-Identifier: Apache-2.0
import Library
import MmapStorage
import Testing

@Test(arguments: [BPFObjectImage.inTests, requestTags()])
func `a test target has images of its own and sees those of a library`(image: BPFObjectImage) {
  #expect(image.bytes.starts(with: [0x7f] + "ELF".utf8))
}
