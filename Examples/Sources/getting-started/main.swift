// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct request_tag` of request-tags.bpf.c.
struct RequestTag: MapValue {
  var requestID: UInt64
  var priority: UInt32
  var calls: UInt32
}

let object = try BPFObject(.requestTags)
try object.setGlobal("only_process", to: UInt32(getpid()))
try object.load()
let tags = try TaskLocalStorage<RequestTag>(map: object.map("request_tags"))
try object.attach()

try tags.withCurrent { tag in
  tag.requestID = 42
  tag.priority = 3
}
for _ in 0..<10 { _ = getppid() }
let calls = try tags.withCurrent { $0.calls }
print("Request 42 made \(calls) calls.")

let thread = ThreadID.current
if let tag = try tags.value(of: thread) {
  print("The thread serves request \(tag.requestID) with priority \(tag.priority).")
}
