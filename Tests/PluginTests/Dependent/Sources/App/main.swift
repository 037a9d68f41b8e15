// SPDX-License-Identifier: Apache-2.0
import Glibc
import Library
import MmapStorage

// Writes the bytes of an image to standard output, for comparison by the script.
let images: [(name: String, image: BPFObjectImage)] = [
  ("HTTPCounters", .httpCounters), ("default", .`default`), ("request-tags", requestTags()),
]

// The library's generated code, without the parts of the library that only this code uses.
func incrementNumber(of tags: PublicTags) throws {
  try tags.maps.publicTags.withCurrent { tag in
    tag.low = 5
    tag.number += UInt32(tag.low) + tags.globals.seen
  }
}
var tag = PublicTags.PublicTag(requestID: 1, low: 7, high: 1)
tag.number = 3
precondition(tag.low == 7 && tag.high == 1 && tag.number == 3)

for (name, image) in images where CommandLine.arguments.dropFirst().contains(name) {
  let bytes = image.bytes
  guard write(STDOUT_FILENO, bytes, bytes.count) == bytes.count else { exit(1) }
}
