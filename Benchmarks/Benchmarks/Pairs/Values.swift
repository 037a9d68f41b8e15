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

/// values.bpf.c, loaded for one backend.
func loadValues(for backend: BackendKind) throws -> BPFObject {
  let object = try BPFObject(.values, allowing: [backend])
  try object.load()
  return object
}

/// Descriptor numbers, for the C side. The object keeps them open.
func number(of map: BPFMap) throws -> CInt { try map.withDescriptor { $0.rawValue } }

struct Failed: Error { var errno: Int }

func check(_ result: Int) throws { if result < 0 { throw Failed(errno: -result) } }
