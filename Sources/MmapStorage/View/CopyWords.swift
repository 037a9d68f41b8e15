// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim

/// Returns the size of the largest aligned access that begins at `offset` and needs at most `rest`
/// bytes: 8, 4, 2 or 1. A copy in such pieces tears no aligned field.
func widestAccess(_ offset: Int, _ rest: Int) -> Int {
  if offset & 7 == 0, rest >= 8 { return 8 }
  if offset & 3 == 0, rest >= 4 { return 4 }
  return offset & 1 == 0 && rest >= 2 ? 2 : 1
}

/// Copies bytes that another thread or a program may write at the same time. Tears no aligned field.
func copyWords(from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, count: Int) {
  let misalignment = Int(bitPattern: source) | Int(bitPattern: target)
  var at = 0
  while at < count {
    let from = unsafe UnsafeMutableRawPointer(mutating: source + at)
    let to = unsafe target + at
    let width = widestAccess(misalignment | at, count - at)
    switch width {
    case 8: unsafe mms_store64(to, mms_load64(from))
    case 4: unsafe mms_store32(to, mms_load32(from))
    case 2: unsafe mms_store16(to, mms_load16(from))
    default: unsafe mms_store8(to, mms_load8(from))
    }
    at += width
  }
}
