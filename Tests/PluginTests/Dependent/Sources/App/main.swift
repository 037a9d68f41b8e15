// SPDX-License-Identifier: Apache-2.0
import Glibc
import Library
import MmapStorage

// Writes the bytes of an image to standard output, for the script to look at.
let images: [BPFObjectImage] = [.httpCounters, .`default`, requestTags()]

for image in images where CommandLine.arguments.dropFirst().contains(image.name) {
  let bytes = image.bytes
  guard write(STDOUT_FILENO, bytes, bytes.count) == bytes.count else { exit(1) }
}
