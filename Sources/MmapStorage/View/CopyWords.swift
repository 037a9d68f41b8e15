internal import CLibBPFShim

/// Copies bytes that another thread or a program may write meanwhile, in the largest naturally
/// aligned pieces there are, so that no field is torn.
func copyWords(from source: UnsafeRawPointer, to target: UnsafeMutableRawPointer, count: Int) {
  var at = 0
  while at < count {
    let from = UnsafeMutableRawPointer(mutating: source + at)
    let to = target + at
    let misalignment = UInt(bitPattern: from) | UInt(bitPattern: to)
    if misalignment % 8 == 0, count - at >= 8 {
      mms_store64(to, mms_load64(from))
      at += 8
    } else if misalignment % 4 == 0, count - at >= 4 {
      mms_store32(to, mms_load32(from))
      at += 4
    } else if misalignment % 2 == 0, count - at >= 2 {
      mms_store16(to, mms_load16(from))
      at += 2
    } else {
      mms_store8(to, mms_load8(from))
      at += 1
    }
  }
}
