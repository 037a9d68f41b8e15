// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct visit` of hello.bpf.c. The layouts are compared when the storage is created.
struct Visit: MapValue {
  var calls: UInt64
  var requestID: UInt32
  var lastRequestID: UInt32
}

let object = try BPFObject(.hello)
try object.load()
try object.attach()
let visits = try TaskLocalStorage<Visit>(map: object.map("visits"))

try visits.withCurrent { $0.requestID = 42 }  // the BPF program reads this
for _ in 0..<3 { _ = getppid() }
try visits.withCurrent { visit in  // the BPF program wrote this
  print("The program saw \(visit.calls) calls, the last for request \(visit.lastRequestID).")
}
print("Backend \(visits.backend)")
