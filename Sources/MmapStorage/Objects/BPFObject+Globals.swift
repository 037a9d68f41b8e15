// SPDX-License-Identifier: Apache-2.0
internal import CLibBPFShim
public import LibBPF

// Invariant: a variable's bytes are lent, and have the size of the Swift type, which is compared
// first.

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
      variable.store(value)
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
      return variable.load(as: type)
    }
  }

  private func check<Field: MapField>(
    _ variable: borrowing GlobalVariable,
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
    guard comparison.isMatch, MemoryLayout<Field>.size == variable.size else {
      throw BPFError(
        .layoutMismatch,
        attempt: attempt,
        on: subject,
        advice: "it has \(variable.size) bytes, and Swift type '\(Field.self)' has "
          + "\(MemoryLayout<Field>.size); rows that differ are marked '!' below",
        details: comparison.table
      )
    }
  }
}

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
