// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

let object = try RequestTags.open { $0.globals.callsLimit = 100 }.load()
let tags = try object.maps.requestTags

try tags.withCurrent { tag in
  tag.requestID = 42
  tag.priority = 3
}
for _ in 0..<10 { _ = getppid() }
let calls = try tags.withCurrent { $0.calls }
print("Request 42 made \(calls) calls.")

let thread = ThreadID.current
if let tag = try tags.value(of: .thread(thread)) {
  print("The thread serves request \(tag.requestID) with priority \(tag.priority).")
}
