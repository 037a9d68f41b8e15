// SPDX-License-Identifier: Apache-2.0
import CBaselines
import MmapStorage
import Operations

private struct Eight: MapValue {
  var a: UInt64, b: UInt64, c: UInt32, d: UInt32, e: UInt16, f: UInt16, g: UInt16, h: UInt16
}

private struct SixtyFour: MapValue {
  var a: Eight, b: Eight, c: Eight, d: Eight, e: Eight, f: Eight, g: Eight, h: Eight
}

private struct FiveHundredTwelve: MapValue {
  var a: SixtyFour, b: SixtyFour, c: SixtyFour, d: SixtyFour
  var e: SixtyFour, f: SixtyFour, g: SixtyFour, h: SixtyFour
}

/// Operations that are done once: opening and loading an object, checking a layout. Both against
/// libbpf.
func opening() throws {
  guard try loadValues(for: .lookup) != nil else { return }
  let bytes = valuesImage.bytes
  let withLibbpf: (Int) throws -> Void = { count in
    for _ in 0..<count {
      try bytes.withUnsafeBytes { bytes in
        guard let start = bytes.baseAddress else { throw Failed(errno: 0) }
        try check(baseline_open_and_load(start, bytes.count))
      }
    }
  }
  compare(
    Pair(
      name: "open: an object opened, loaded, closed (lookup | libbpf alone)",
      ours: { count in
        for _ in 0..<count {
          let object = try BPFObject(valuesImage, allowing: [.lookup])
          try object.load()
        }
      },
      baseline: withLibbpf,
      batch: 5
    )
  )

  let layouts = try BPFObject(.layouts)
  func layout<Value: MapField>(of type: Value.Type, map: String, fields: Int) {
    compare(
      Pair(
        name: "open: layout check of \(fields) fields (BTF and check | object loaded by libbpf)",
        ours: { count in
          for _ in 0..<count {
            let layout = try layouts.layout(ofMap: map)
            try layout.check(type)
          }
        },
        baseline: withLibbpf,
        batch: 5
      )
    )
  }
  layout(of: Eight.self, map: "small", fields: 8)
  layout(of: SixtyFour.self, map: "medium", fields: 64)
  layout(of: FiveHundredTwelve.self, map: "large", fields: 512)

  func types<Written: MapField, Generated: MapField>(
    _ written: Written.Type,
    _ generated: Generated.Type,
    map: String,
    fields: Int
  ) throws {
    let layout = try layouts.layout(ofMap: map)
    compare(
      Pair(
        name: "open: layout check of \(fields) fields (generated type | reflected type)",
        ours: { count in for _ in 0..<count { try layout.check(generated) } },
        baseline: { count in for _ in 0..<count { try layout.check(written) } },
        batch: 5
      )
    )
  }
  try types(Eight.self, Layouts.Eight.self, map: "small", fields: 8)
  try types(SixtyFour.self, Layouts.SixtyFour.self, map: "medium", fields: 64)
  try types(FiveHundredTwelve.self, Layouts.FiveHundredTwelve.self, map: "large", fields: 512)
}
