// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import CBaselines
import Glibc
import MmapStorage
import MmapStorageTesting
import Operations

/// Runs one operation a given number of times, for callgrind to count its instructions.
@main
struct Counts: ParsableCommand {
  @Argument(help: "The number of the operation, from 0; without it they are listed.")
  var number: Int?
  @Argument(help: "'swift' or 'c'.")
  var side = "swift"
  @Argument(help: "How many times.")
  var count = 1

  func validate() throws {
    if let number, !Operation.all.indices.contains(number) {
      throw ValidationError("there are \(Operation.all.count) operations")
    }
    if !["swift", "c"].contains(side) || count < 0 {
      throw ValidationError("the side is 'swift' or 'c', and the count 0 or more")
    }
  }

  func run() throws {
    guard let number else {
      for operation in Operation.all {
        print(operation.function, operation.what, operation.against, separator: "\t")
      }
      return
    }
    let operation = Operation.all[number]
    if side == "c" {
      let page = UnsafeMutableRawPointer.allocate(byteCount: 4096, alignment: 4096)
      page.initializeMemory(as: UInt8.self, repeating: 0, count: 4096)
      baseline_enter(page)
      baseline_prepare_keys()
      print(operation.baseline(count))
    } else {
      let storage = try TaskLocalStorage<Counters>(
        backend: FakeBackend(layoutOf: Counters.self)
      )
      print(try operation.ours(storage, count))
    }
  }
}
