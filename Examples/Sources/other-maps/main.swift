// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

let object = try SystemCalls.load()
let maps = object.maps
try maps.recordings.withCurrent { $0.isOn = 1 }

for _ in 0..<2 { _ = getppid() }
_ = getuid()

let counts = try maps.counts
for (number, count) in try counts.contents().sorted(by: { $0.key < $1.key }) {
  print("System call \(number): \(count)")
}
_ = try counts.removeValue(for: 102)
print("Counted: \(try counts.keys())")

let total = try maps.totals.values(at: 0).reduce(0, +)
print("All processors: \(total)")

for call in try maps.calls.takeRecords() {
  print("System call \(call.number) of thread \(call.threadName.copyString())")
}

for _ in 0..<1000 { _ = getuid() }
for try await call in try maps.calls {
  print("The first of many: \(call.number)")
  break
}
let rest = try maps.calls.takeRecords().count
print("\(rest) more, \(object.globals.lost) lost")

object.globals.notRecorded = 110
_ = getppid()
print("After getppid(): \(try maps.calls.takeRecords().count)")
