import CLibBPFShim
import Synchronization

extension BPFObject {
  /// Sets a global variable of the program.
  ///
  /// Before ``load()`` any global may be set: `const volatile` ones too, which the verifier then
  /// takes for constants. After it only the others; a program that runs sees the new value at once,
  /// and one of 1, 2, 4 or 8 bytes whole.
  ///
  /// - Parameters:
  ///   - name: The variable's name in the program's source.
  ///   - value: The new value; its type must have the size and kind that the object says.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/layoutMismatch``,
  ///   ``BPFError/Kind/layoutUnavailable`` if the object has no type information, or
  ///   ``BPFError/Kind/wrongState`` for a constant after loading, or after ``close()``.
  public func setGlobal<Field: MapField>(_ name: String, to value: Field) throws(BPFError) {
    try withGlobal(name, as: Field.self, attempt: "set global '\(name)'", writing: true) {
      storeGlobal(value, at: $0)
    }
  }

  /// The present value of a global variable of the program.
  ///
  /// After ``load()`` this is what the programs see: one load from shared memory.
  ///
  /// - Parameters:
  ///   - name: The variable's name in the program's source.
  ///   - type: Its type, of the size and kind that the object says.
  /// - Returns: The value.
  /// - Throws: As ``setGlobal(_:to:)``, but constants can be read at any time until ``close()``.
  public func global<Field: MapField>(
    _ name: String,
    as type: Field.Type = Field.self
  ) throws(BPFError) -> Field {
    try withGlobal(name, as: Field.self, attempt: "read global '\(name)'", writing: false) {
      loadGlobal(at: $0)
    }
  }

  private func withGlobal<Field: MapField, Result: Sendable>(
    _ name: String,
    as type: Field.Type,
    attempt: String,
    writing: Bool,
    _ body: @Sendable (UnsafeMutableRawPointer) -> Result
  ) throws(BPFError) -> Result {
    try state.withLock { (state) throws(BPFError) in
      let pointer = try state.existing(for: attempt, on: describedName)
      guard state.phase != .failed else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "loading it failed; open it again"
        )
      }
      let variable = try findVariable(name, in: pointer, attempt: attempt)
      var reader = BTFReader(btf: variable.btf, attempt: attempt, subject: describedName)
      try checkGlobal(
        name,
        declared: try reader.fieldType(variable.type),
        size: variable.size,
        as: type,
        attempt: attempt,
        on: describedName
      )
      if writing, variable.isConstant, state.phase == .loaded {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it is constant once the object is loaded; set it between opening and load(), "
            + "or declare it without 'const'"
        )
      }
      let section =
        if state.phase == .loaded, !variable.isConstant {
          try state.mapSection(variable.section, of: variable.map, attempt: attempt, on: self)
        } else {
          initialBytes(of: variable.map)
        }
      guard let start = section.baseAddress, variable.offset >= 0,
        variable.offset + variable.size <= section.count
      else {
        throw BPFError(
          .invalidObject,
          attempt: attempt,
          on: describedName,
          advice: "it does not fit into its section '\(variable.section)'; compile the program "
            + "again"
        )
      }
      return body(start + variable.offset)
    }
  }

  private struct Variable {
    var btf: OpaquePointer
    var section: String
    var map: OpaquePointer
    var type: UInt32
    var offset: Int
    var size: Int
    var isConstant: Bool { section.hasPrefix(".rodata") }
  }

  private func findVariable(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> Variable {
    guard let btf = mms_object_btf(pointer) else {
      throw BPFError(
        .layoutUnavailable,
        attempt: attempt,
        on: describedName,
        advice: "the object has no type information; compile it with -g"
      )
    }
    var known: [String] = []
    for id in 1..<max(1, mms_btf_type_count(btf)) {
      var type = mms_btf_type()
      guard mms_btf_type(btf, id, &type) == 0, mms_btf_kind(type.kind) == MMS_BTF_DATASEC,
        type.text.hasPrefix("."), let map = mms_object_find_map(pointer, type.text),
        mms_map_is_internal(map)
      else { continue }
      for index in 0..<type.count {
        var variable = mms_btf_variable()
        guard mms_btf_variable(btf, id, index, &variable) == 0, !variable.is_extern else {
          continue
        }
        known.append(variable.text)
        if known.last == name {
          return Variable(
            btf: btf,
            section: type.text,
            map: map,
            type: variable.type,
            offset: Int(variable.offset),
            size: Int(variable.size)
          )
        }
      }
    }
    throw BPFError(
      .notFound,
      attempt: attempt,
      on: describedName,
      advice: known.isEmpty
        ? "the object has no globals (the compiler drops those that no program uses)"
        : "its globals are: " + known.joined(separator: ", ")
    )
  }
}

extension BPFObjectState {
  /// The live bytes of a section, mapped once.
  fileprivate mutating func mapSection(
    _ section: String,
    of map: OpaquePointer,
    attempt: String,
    on object: BPFObject
  ) throws(BPFError) -> UnsafeMutableRawBufferPointer {
    if let mapped = mappedSections[section] { return mapped }
    let size = Int(mms_map_value_size(map))
    var address: UnsafeMutableRawPointer?
    let code = mms_map_shared(mms_map_fd(map), size, &address)
    guard code == 0, let address else {
      throw BPFError(
        code: code,
        attempt: attempt,
        on: object.describedName,
        advice: "section '\(section)' cannot be mapped; mapping arrays needs Linux 5.5 or later"
      )
    }
    let mapped = UnsafeMutableRawBufferPointer(start: address, count: size)
    mappedSections[section] = mapped
    return mapped
  }
}

extension mms_btf_variable {
  fileprivate var text: String { name.map { String(cString: $0) } ?? "" }
}

/// What libbpf is going to put, or has put, into the section's map.
private func initialBytes(of map: OpaquePointer) -> UnsafeMutableRawBufferPointer {
  var size = 0
  let start = mms_map_initial_value(map, &size)
  return UnsafeMutableRawBufferPointer(start: start, count: start == nil ? 0 : size)
}

private func storeGlobal<Field: MapField>(_ value: Field, at address: UnsafeMutableRawPointer) {
  withUnsafeBytes(of: value) { bytes in
    switch wholeWidth(bytes.count, at: address) {
    case 1: mms_store8(address, bytes.loadUnaligned(as: UInt8.self))
    case 2: mms_store16(address, bytes.loadUnaligned(as: UInt16.self))
    case 4: mms_store32(address, bytes.loadUnaligned(as: UInt32.self))
    case 8: mms_store64(address, bytes.loadUnaligned(as: UInt64.self))
    default:
      UnsafeMutableRawBufferPointer(start: address, count: bytes.count).copyMemory(from: bytes)
    }
  }
}

private func loadGlobal<Field: MapField>(at address: UnsafeMutableRawPointer) -> Field {
  withUnsafeTemporaryAllocation(
    byteCount: max(1, MemoryLayout<Field>.size),
    alignment: MemoryLayout<Field>.alignment
  ) { bytes in
    switch wholeWidth(MemoryLayout<Field>.size, at: address) {
    case 1: bytes.storeBytes(of: mms_load8(address), as: UInt8.self)
    case 2: bytes.storeBytes(of: mms_load16(address), as: UInt16.self)
    case 4: bytes.storeBytes(of: mms_load32(address), as: UInt32.self)
    case 8: bytes.storeBytes(of: mms_load64(address), as: UInt64.self)
    default:
      bytes.copyMemory(
        from: UnsafeRawBufferPointer(start: address, count: MemoryLayout<Field>.size)
      )
    }
    return bytes.loadUnaligned(as: Field.self)
  }
}

/// The width to access in one piece, or 0 if it takes several.
private func wholeWidth(_ size: Int, at address: UnsafeMutableRawPointer) -> Int {
  guard [1, 2, 4, 8].contains(size), UInt(bitPattern: address) % UInt(size) == 0 else { return 0 }
  return size
}
