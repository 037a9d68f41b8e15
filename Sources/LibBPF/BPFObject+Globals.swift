// SPDX-License-Identifier: Apache-2.0
import Glibc
import SystemPackage

// Invariant: a variable's bytes are lent with the object's lock held, and lie in its section, whose
// size is checked.

/// A global variable of an object, lent to a closure.
@safe
package struct GlobalVariable: ~Copyable, ~Escapable {
  /// The bytes: in the object before loading and for constants, in the mapped section otherwise.
  package let bytes: UnsafeMutableRawBufferPointer
  /// The variable's type in ``BPFObject/btf``.
  package let type: UInt32
  /// Whether it was lent for writing. Other memory may be read-only.
  package let isWritable: Bool

  @_lifetime(immortal)
  fileprivate init(bytes: UnsafeMutableRawBufferPointer, type: UInt32, isWritable: Bool) {
    unsafe self.bytes = bytes
    self.type = type
    self.isWritable = isWritable
  }

  package var size: Int { unsafe bytes.count }

  /// Sets the first byte, if there is one.
  ///
  /// - Precondition: ``isWritable``.
  package func setFirstByte(_ byte: UInt8) {
    precondition(isWritable)
    if size > 0 { unsafe bytes[0] = byte }
  }
}

extension BPFObject {
  /// Lends a global variable's bytes.
  ///
  /// Before loading they are the initial value. A loaded object's section is mapped at the first
  /// call (Linux 5.5); programs see writes immediately.
  ///
  /// - Throws: ``BPFError/Kind/notFound``; ``BPFError/Kind/layoutUnavailable`` if the object was
  ///   compiled without `-g`; ``BPFError/Kind/wrongState`` for a write to a constant after
  ///   loading, after a failed load or ``close()``; or a system error of `mmap(2)`.
  package func withGlobal<Result>(
    _ name: String,
    attempt: String,
    forWriting: Bool,
    _ body: (borrowing GlobalVariable) throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    try withState { (state) throws(BPFError) in
      let object = try state.existing(for: attempt, on: describedName)
      guard state.phase != .failed else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "an earlier load() failed; open the object again"
        )
      }
      let (variable, section, map) = try findVariable(name, in: object, attempt: attempt)
      let isConfiguration = section == ".kconfig"
      guard !isConfiguration || !forWriting && state.phase == .loaded else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "load() sets it to the kernel's value; it can only be read, after load()"
        )
      }
      let isConstant = isConfiguration || section.hasPrefix(".rodata")
      if forWriting, isConstant, state.phase == .loaded {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it is constant once the object is loaded; set it before load(), or declare it "
            + "without 'const'"
        )
      }
      func lend(_ bytes: UnsafeMutableRawBufferPointer) throws(BPFError) -> Result {
        let offset = Int(variable.offset)
        let size = Int(variable.size)
        guard offset + size <= bytes.count else {
          throw BPFError(
            .invalidObject,
            attempt: attempt,
            on: describedName,
            advice: "it does not fit into its section '\(section)'; compile the program again"
          )
        }
        return try unsafe body(
          GlobalVariable(
            bytes: UnsafeMutableRawBufferPointer(rebasing: bytes[offset..<offset + size]),
            type: variable.type,
            isWritable: forWriting
          )
        )
      }
      guard state.phase == .loaded, !isConstant else {
        return try unsafe map.withInitialValue(lend)
      }
      let memory = try state.mapSection(section, of: map, attempt: attempt, on: describedName)
      return try unsafe lend(memory.bytes)
    }
  }

  private func findVariable(
    _ name: String,
    in object: LibBPFObject,
    attempt: String
  ) throws(BPFError) -> (BTF.Variable, section: String, map: LibBPFMap) {
    guard let btf else {
      throw BPFError(
        .layoutUnavailable,
        attempt: attempt,
        on: describedName,
        advice: "the object has no type information; compile it with -g"
      )
    }
    var known: [String] = []
    for id in 1..<max(1, btf.typeCount) {
      let section = try btf.type(id)
      guard section.kind == .dataSection, section.name.hasPrefix("."),
        let map = object.map(named: section.name), map.isInternal
      else { continue }
      for index in 0..<section.count {
        let variable = try btf.variable(index, of: id)
        guard !variable.isExtern else { continue }
        if variable.name == name { return (variable, section.name, map) }
        // Names that begin with two underscores belong to the implementation.
        if !variable.name.hasPrefix("__") { known.append(variable.name) }
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
  fileprivate mutating func mapSection(
    _ section: String,
    of map: LibBPFMap,
    attempt: String,
    on subject: String
  ) throws(BPFError) -> MemoryMapping {
    if let mapped = mappedSections[section] { return mapped }
    let mapped = try MemoryMapping(section, of: map, attempt: attempt, on: subject)
    mappedSections[section] = mapped
    return mapped
  }
}

extension MemoryMapping {
  /// Maps a section of global variables of a loaded object.
  fileprivate convenience init(
    _ section: String,
    of map: LibBPFMap,
    isWritable: Bool = true,
    attempt: String,
    on subject: String
  ) throws(BPFError) {
    do throws(Errno) {
      try self.init(
        size: map.valueSize,
        isWritable: isWritable,
        flags: MAP_SHARED,
        descriptor: map.descriptor
      )
    } catch {
      throw BPFError(
        errno: error,
        attempt: attempt,
        on: subject,
        advice: "section '\(section)' cannot be mapped; mapping arrays needs Linux 5.5"
      )
    }
  }
}

extension BPFObject {
  /// Maps a section of global variables of the loaded object separately: the memory outlives the
  /// object.
  package func mapSection(_ name: String) throws(BPFError) -> MemoryMapping {
    let attempt = "map the global variables in section '\(name)'"
    return try withState { (state) throws(BPFError) in
      let object = try state.loaded(for: attempt, on: describedName)
      guard let map = object.map(named: name), map.isInternal else {
        throw BPFError(
          .notFound,
          attempt: attempt,
          on: describedName,
          advice: "the object has no such section"
        )
      }
      let isWritable = !name.hasPrefix(".rodata")
      return try MemoryMapping(
        name,
        of: map,
        isWritable: isWritable,
        attempt: attempt,
        on: describedName
      )
    }
  }
}
