// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc

/// A global variable of an object: where its bytes are, and what the type information says.
@safe
package struct GlobalVariable {
  /// The bytes: of the object before loading and for constants, of the mapped section afterwards.
  package let bytes: UnsafeMutableRawBufferPointer
  /// The variable's type in ``BPFObject/btf``.
  package let type: UInt32
}

extension BPFObject {
  /// Lends a global variable's bytes.
  ///
  /// Before loading they are the initial value. A loaded object's section is mapped at the first
  /// call (Linux 5.5); programs see writes at once.
  ///
  /// - Throws: ``BPFError/Kind/notFound``; ``BPFError/Kind/layoutUnavailable`` if the object was
  ///   compiled without `-g`; ``BPFError/Kind/wrongState`` for a write to a constant after
  ///   loading, after a failed load or ``close()``; or a system error of `mmap(2)`.
  package func withGlobal<Result>(
    _ name: String,
    attempt: String,
    forWriting: Bool,
    _ body: (GlobalVariable) throws(BPFError) -> Result
  ) throws(BPFError) -> Result {
    try withState { (state) throws(BPFError) in
      let pointer = try unsafe state.existing(for: attempt, on: describedName)
      guard state.phase != .failed else {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "an earlier load() failed; open the object again"
        )
      }
      let (variable, section, map) = unsafe try findVariable(name, in: pointer, attempt: attempt)
      let isConstant = section.hasPrefix(".rodata")
      if forWriting, isConstant, state.phase == .loaded {
        throw BPFError(
          .wrongState,
          attempt: attempt,
          on: describedName,
          advice: "it is constant once the object is loaded; set it before load(), or declare it "
            + "without 'const'"
        )
      }
      let bytes =
        if state.phase == .loaded, !isConstant {
          try unsafe state.mapSection(section, of: map, attempt: attempt, on: describedName)
        } else {
          unsafe initialValue(of: map)
        }
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
          type: variable.type
        )
      )
    }
  }

  private func findVariable(
    _ name: String,
    in pointer: OpaquePointer,
    attempt: String
  ) throws(BPFError) -> (BTF.Variable, section: String, map: OpaquePointer) {
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
        let map = unsafe bpf_object__find_map_by_name(pointer, section.name),
        unsafe bpf_map__is_internal(map)
      else { continue }
      for index in 0..<section.count {
        let variable = try btf.variable(index, of: id)
        guard !variable.isExtern else { continue }
        if variable.name == name { return unsafe (variable, section.name, map) }
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
    of map: OpaquePointer,
    attempt: String,
    on subject: String
  ) throws(BPFError) -> UnsafeMutableRawBufferPointer {
    if let mapped = unsafe mappedSections[section] { return unsafe mapped }
    let size = unsafe Int(bpf_map__value_size(map))
    switch unsafe mapMemory(size: size, flags: MAP_SHARED, descriptor: bpf_map__fd(map)) {
    case .success(let address):
      let mapped = unsafe UnsafeMutableRawBufferPointer(start: address, count: size)
      unsafe mappedSections[section] = mapped
      return unsafe mapped
    case .failure(let errno):
      throw BPFError(
        errno: errno,
        attempt: attempt,
        on: subject,
        advice: "section '\(section)' cannot be mapped; mapping arrays needs Linux 5.5"
      )
    }
  }
}

private func initialValue(of map: OpaquePointer) -> UnsafeMutableRawBufferPointer {
  var size = 0
  let start = unsafe bpf_map__initial_value(map, &size)
  return unsafe UnsafeMutableRawBufferPointer(
    start: UnsafeMutableRawPointer(mutating: start),
    count: start == nil ? 0 : size
  )
}
