// SPDX-License-Identifier: Apache-2.0
public import LibBPF

extension TaskLocalStorage {
  /// Creates a storage that copies, with a given access path; for comparisons.
  @_spi(Benchmarks)
  public convenience init(map: BPFMap, lookupBy path: LookupAccessPath) throws(BPFError) {
    try self.init(backend: LookupBackend(map, accessPath: path))
  }
}
