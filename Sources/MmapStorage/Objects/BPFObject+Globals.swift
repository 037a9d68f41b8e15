// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
public import LibBPF

extension BPFObject {
  /// Sets a global variable of the programs.
  ///
  /// A constant (`const volatile`, in `.rodata`) can be set before ``load()`` only; the verifier
  /// then knows its value. Any other variable can be set at any time: a loaded object's section is
  /// mapped at the first call (Linux 5.5), and programs see the new value at once. A value of 1, 2, 4
  /// or 8 bytes that is aligned is written with a single store.
  ///
  /// - Parameters:
  ///   - name: The C name.
  ///   - value: The value. Its type is compared with the C type field by field.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState``.
  public func setGlobal<Field: MapField>(_ name: String, to value: Field) throws(BPFError) {
    let attempt = "set global '\(name)'"
    try withGlobal(name, attempt: attempt, forWriting: true) { (variable) throws(BPFError) in
      try check(variable, named: name, as: Field.self, attempt: attempt)
      unsafe storeGlobal(value, to: variable.bytes)
    }
  }

  /// Reads a global variable of the programs.
  ///
  /// A value of 1, 2, 4 or 8 bytes that is aligned is read with a single load. A larger one is
  /// copied, and a program may change it meanwhile.
  ///
  /// - Parameters:
  ///   - name: The C name.
  ///   - type: The Swift type, which is compared with the C type field by field.
  /// - Returns: The value.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable``, or ``BPFError/Kind/wrongState``.
  public func global<Field: MapField>(
    _ name: String,
    as type: Field.Type = Field.self
  ) throws(BPFError) -> Field {
    let attempt = "read global '\(name)'"
    return try withGlobal(name, attempt: attempt, forWriting: false) {
      (variable) throws(BPFError) in
      try check(variable, named: name, as: type, attempt: attempt)
      return unsafe loadGlobal(from: variable.bytes)
    }
  }

  private func check<Field: MapField>(
    _ variable: GlobalVariable,
    named name: String,
    as type: Field.Type,
    attempt: String
  ) throws(BPFError) {
    let subject = "object '\(self.name)'"
    guard let btf else { return }
    var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
    let comparison = LayoutComparison(
      swift: try Field.fieldType(),
      swiftName: "\(Field.self)",
      map: try reader.fieldType(variable.type),
      mapName: name
    )
    guard comparison.isMatch, unsafe MemoryLayout<Field>.size == variable.bytes.count else {
      throw BPFError(
        .layoutMismatch,
        attempt: attempt,
        on: subject,
        advice: unsafe "it has \(variable.bytes.count) bytes, and Swift type '\(Field.self)' has "
          + "\(MemoryLayout<Field>.size); rows that differ are marked '!' below",
        details: comparison.table
      )
    }
  }
}

private func storeGlobal<Field: MapField>(
  _ value: Field,
  to target: UnsafeMutableRawBufferPointer
) {
  guard let address = target.baseAddress else { return }
  unsafe withUnsafeBytes(of: value) { bytes in
    switch unsafe accessWidth(bytes.count, at: address) {
    case 1: unsafe mms_store8(address, bytes.loadUnaligned(as: UInt8.self))
    case 2: unsafe mms_store16(address, bytes.loadUnaligned(as: UInt16.self))
    case 4: unsafe mms_store32(address, bytes.loadUnaligned(as: UInt32.self))
    case 8: unsafe mms_store64(address, bytes.loadUnaligned(as: UInt64.self))
    default: unsafe target.copyMemory(from: bytes)
    }
  }
}

private func loadGlobal<Field: MapField>(from source: UnsafeMutableRawBufferPointer) -> Field {
  unsafe withUnsafeTemporaryAllocation(
    byteCount: max(1, MemoryLayout<Field>.size),
    alignment: MemoryLayout<Field>.alignment
  ) { bytes in
    if let address = source.baseAddress {
      switch unsafe accessWidth(source.count, at: address) {
      case 1: unsafe bytes.storeBytes(of: mms_load8(address), as: UInt8.self)
      case 2: unsafe bytes.storeBytes(of: mms_load16(address), as: UInt16.self)
      case 4: unsafe bytes.storeBytes(of: mms_load32(address), as: UInt32.self)
      case 8: unsafe bytes.storeBytes(of: mms_load64(address), as: UInt64.self)
      default: unsafe bytes.copyMemory(from: UnsafeRawBufferPointer(source))
      }
    }
    return unsafe bytes.loadUnaligned(as: Field.self)
  }
}

/// The width of a single access to the whole variable; 0 if there is none.
private func accessWidth(_ size: Int, at address: UnsafeMutableRawPointer) -> Int {
  guard [1, 2, 4, 8].contains(size), UInt(bitPattern: address) % UInt(size) == 0 else { return 0 }
  return size
}
