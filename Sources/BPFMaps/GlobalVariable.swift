// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
internal import LibBPF
internal import MapValues

// Invariant: a variable's bytes are lent, and have the size of the Swift type, which is checked
// first.

extension GlobalVariable {
  /// Writes the variable, with a single store if there is one of its size.
  ///
  /// - Precondition: It has the size of `Field`, and was lent for writing.
  func store<Field: MapField>(_ value: Field) {
    precondition(isWritable && size == MemoryLayout<Field>.size)
    guard let address = unsafe bytes.baseAddress else { return }
    unsafe withUnsafeBytes(of: value) { value in
      switch unsafe accessWidth(size, at: address) {
      case 1: unsafe mms_store8(address, value.loadUnaligned(as: UInt8.self))
      case 2: unsafe mms_store16(address, value.loadUnaligned(as: UInt16.self))
      case 4: unsafe mms_store32(address, value.loadUnaligned(as: UInt32.self))
      case 8: unsafe mms_store64(address, value.loadUnaligned(as: UInt64.self))
      default: unsafe bytes.copyMemory(from: value)
      }
    }
  }

  /// Reads the variable, with a single load if there is one of its size. Each `Bool` becomes 0 or 1.
  ///
  /// - Precondition: It has the size of `Field`, which has a description.
  func load<Field: MapField>(as type: Field.Type) -> Field {
    precondition(size == MemoryLayout<Field>.size)
    let booleans: [Int]
    do {
      booleans = booleanOffsets(of: try type.fieldType())
    } catch {
      preconditionFailure("\(type) cannot be read as a whole: \(error)")
    }
    return unsafe withUnsafeTemporaryAllocation(
      byteCount: max(1, size),
      alignment: max(8, MemoryLayout<Field>.alignment)
    ) { copy in
      if let address = unsafe bytes.baseAddress {
        switch unsafe accessWidth(size, at: address) {
        case 1: unsafe copy.storeBytes(of: mms_load8(address), as: UInt8.self)
        case 2: unsafe copy.storeBytes(of: mms_load16(address), as: UInt16.self)
        case 4: unsafe copy.storeBytes(of: mms_load32(address), as: UInt32.self)
        case 8: unsafe copy.storeBytes(of: mms_load64(address), as: UInt64.self)
        default: unsafe copy.copyMemory(from: UnsafeRawBufferPointer(bytes))
        }
      }
      for offset in booleans where unsafe copy[offset] > 1 { unsafe copy[offset] = 1 }
      return unsafe copy.loadUnaligned(as: type)
    }
  }
}

/// The width of a single access to the whole variable; 0 if there is none.
private func accessWidth(_ size: Int, at address: UnsafeMutableRawPointer) -> Int {
  guard [1, 2, 4, 8].contains(size), UInt(bitPattern: address) % UInt(size) == 0 else { return 0 }
  return size
}
