// SPDX-License-Identifier: Apache-2.0
package import MmapStorage

extension DirectBackend {
  /// Attaches the calling thread, as a storage does at the first touch.
  package func attach() throws(BPFError) -> UnsafeMutableRawPointer {
    try attach(ThreadRegistry.shared.currentOrNewRecord())
  }

  /// Ends an attachment of the calling thread.
  package func detach(_ address: UnsafeMutableRawPointer, because reason: DetachReason) {
    guard let record = try? ThreadRegistry.shared.currentOrNewRecord() else { return }
    detach(address, of: record, because: reason)
  }
}
