// SPDX-License-Identifier: Apache-2.0
import CBaselines
import Glibc
@_spi(Benchmarks) import MmapStorage
import Operations

/// A thread's first view of a storage, and the end of its value there.
func attaching() throws {
  try attachingUserPages()
  guard let object = try loadValues(for: .lookup) else { return }
  let theirs = try object.map("theirs")
  for path in [LookupAccessPath.program, .pidfd] {
    let storage = try TaskLocalStorage<Counters>(
      map: object.map("values"),
      lookupBy: path
    )
    compare(
      Pair(
        name: "attach: first view and removal (lookup by \(path) | the same system calls)",
        ours: { count in try touchAndRemove(storage, count) },
        baseline: { count in
          let map = try number(of: theirs)
          for _ in 0..<count { try check(baseline_create_and_remove(map, baseline_own_pidfd())) }
        },
        batch: 200
      )
    )
  }
}

private func attachingUserPages() throws {
  guard let object = try loadValues(for: .userPage) else { return }
  let storage = try TaskLocalStorage<Counters>(map: object.map("values"))
  let theirs = try object.map("theirs")
  compare(
    Pair(
      name: "attach: first view and removal (userPage | the same system calls)",
      ours: { count in try touchAndRemove(storage, count) },
      baseline: { count in
        let map = try number(of: theirs)
        for _ in 0..<count {
          guard let page = baseline_attach(map) else { throw Failed(errno: errno) }
          page.storeBytes(of: 1, as: UInt64.self)
          baseline_detach(map, page)
        }
      },
      batch: 200
    )
  )
}
