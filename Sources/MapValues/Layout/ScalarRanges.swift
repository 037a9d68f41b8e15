// SPDX-License-Identifier: Apache-2.0
internal import LibBPF

/// Returns the bytes of every scalar in a value of type `type`, in order, array elements one by one.
///
/// Omits padding and types for which Swift has no field. Opaque bytes are one range. The ranges
/// are disjoint: overlapping alternatives of a union are one range.
package func scalarRanges(of type: FieldType) -> [Range<Int>] {
  var ranges: [Range<Int>] = []
  collectScalarRanges(of: type, at: 0, into: &ranges)
  ranges.sort { ($0.lowerBound, $0.upperBound) < ($1.lowerBound, $1.upperBound) }
  var disjoint: [Range<Int>] = []
  for range in ranges {
    if let last = disjoint.last, last.upperBound > range.lowerBound {
      disjoint[disjoint.count - 1] =
        last.lowerBound..<max(last.upperBound, range.upperBound)
    } else {
      disjoint.append(range)
    }
  }
  return disjoint
}

private func collectScalarRanges(
  of type: FieldType,
  at offset: Int,
  into ranges: inout [Range<Int>]
) {
  switch type {
  case .integer, .character, .boolean, .floatingPoint, .enumeration, .opaque, .bitField:
    if type.size > 0 { ranges.append(offset..<offset + type.size) }
  case .array(let element, let count):
    // BTF may have billions of elements without bytes.
    if element.size == 0 { return }
    for index in 0..<count {
      collectScalarRanges(of: element, at: offset + index * element.size, into: &ranges)
    }
  case .structure(let layout), .union(let layout):
    for member in layout.members {
      collectScalarRanges(of: member.type, at: offset + member.offset, into: &ranges)
    }
  case .unsupported:
    break
  }
}
