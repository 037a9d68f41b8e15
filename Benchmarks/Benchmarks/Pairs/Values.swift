import CBaselines
import MmapStorage
import SystemPackage

/// `struct counters` of values.bpf.c.
struct Counters: MapValue {
  var a: UInt64 = 0
  var b: UInt64 = 0
  var c: UInt32 = 0
  var d: UInt32 = 0
  var e: UInt16 = 0
  var f: UInt16 = 0
  var g: UInt8 = 0
  var h: UInt8 = 0
  var reserved: UInt16 = 0
  var more: InlineArray<4, UInt64> = .init(repeating: 0)
}

/// values.bpf.c, loaded for one backend; nil, and a line that says why, where the kernel or the
/// rights do not allow it.
func loadValues(for backend: BackendKind) throws -> BPFObject? {
  do throws(StorageError) {
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

/// Descriptor numbers, for the C side. Valid as long as the map is there.
func number(of map: BPFMap) throws -> CInt { try map.withDescriptor { $0.rawValue } }

struct Failed: Error { var errno: CInt }

func check<Result: FixedWidthInteger>(_ result: Result) throws {
  if result < 0 { throw Failed(errno: -CInt(result)) }
}
