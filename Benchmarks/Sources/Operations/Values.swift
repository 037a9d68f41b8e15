// SPDX-License-Identifier: Apache-2.0
import CBaselines
import MmapStorage
import SystemPackage

/// The bytes of values.bpf.c.
package let valuesImage = BPFObjectImage.values

/// values.bpf.c, loaded for one backend. Returns nil and prints the reason if the kernel or the
/// rights do not allow it.
package func loadValues(for backend: BackendKind) throws -> BPFObject? {
  do throws(BPFError) {
    let object = try BPFObject(.values, allowing: [backend])
    try object.load()
    if backend != .lookup {
      _ = try TaskLocalStorage<Counters>(map: object.map("values"), allowing: [backend])
    }
    return object
  } catch {
    guard [.permissionDenied, .unsupported].contains(error.kind) else { throw error }
    print("left out: what needs the backend \(backend): \(error)")
    return nil
  }
}

/// Descriptor numbers, for the C side. Valid as long as the map exists.
package func number(of map: BPFMap) throws -> CInt { try map.withDescriptor { $0.rawValue } }

package struct Failed: Error {
  package var errno: CInt
  package init(errno: CInt) { self.errno = errno }
}

package func check<Result: FixedWidthInteger>(_ result: Result) throws {
  if result < 0 { throw Failed(errno: -CInt(result)) }
}
