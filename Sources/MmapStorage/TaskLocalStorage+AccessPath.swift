// SPDX-License-Identifier: Apache-2.0
public import LibBPF

extension TaskLocalStorage {
  /// Creates a storage over a copying backend with the given access path; for comparisons.
  @_spi(Benchmarks)
  public convenience init(map: BPFMap, lookupBy path: LookupAccessPath) throws(BPFError) {
    try self.init(backend: LookupBackend(map, accessPath: path))
  }
}
