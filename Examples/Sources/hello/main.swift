// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

// The plugin generates `Hello` from hello.bpf.c.
let hello = try Hello.load()
let visits = try hello.maps.visits

try visits.withCurrent { $0.requestID = 42 }  // the BPF program reads this
for _ in 0..<3 { _ = getppid() }
try visits.withCurrent { visit in  // the BPF program wrote this
  print("The program saw \(visit.calls) calls, the last for request \(visit.lastRequestID).")
}
print("Backend \(visits.backend)")
