// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc

// The handles of libbpf. Invariants: an object's handle is valid until `bpf_object__close()`, which only
// `deinit` of its owner calls; programs and maps belong to an object, and keep its owner alive. libbpf does
// not synchronize, so none of these types is `Sendable`: they are reached through the lock of a `BPFObject`.

/// An opened object of libbpf. Closed in `deinit`.
@safe
final class LibBPFObject {
  fileprivate let pointer: OpaquePointer

  /// Opens the bytes of an ELF file (`bpf_object__open_mem`). On failure sets `code` to a negative error
  /// number.
  init?(_ bytes: [UInt8], name: String, code: inout CInt) {
    let pointer = unsafe name.withCString { name in
      var options = unsafe bpf_object_open_opts()
      unsafe options.sz = optionsSize(upTo: \bpf_object_open_opts.object_name, UInt.self)
      unsafe options.object_name = name
      return unsafe bytes.withUnsafeBytes {
        unsafe bpf_object__open_mem($0.baseAddress, $0.count, &options)
      }
    }
    code = unsafe resultCode(pointer)
    guard let pointer = unsafe pointer else { return nil }
    unsafe self.pointer = pointer
  }

  deinit { unsafe bpf_object__close(pointer) }

  /// The programs, in the order of the file.
  var programs: [LibBPFProgram] {
    var programs: [LibBPFProgram] = []
    while let next = unsafe bpf_object__next_program(pointer, programs.last?.pointer) {
      unsafe programs.append(LibBPFProgram(next, of: self))
    }
    return programs
  }

  /// The maps, in the order of the file.
  var maps: [LibBPFMap] {
    var maps: [LibBPFMap] = []
    while let next = unsafe bpf_object__next_map(pointer, maps.last?.pointer) {
      unsafe maps.append(LibBPFMap(next, of: self))
    }
    return maps
  }

  /// Finds a program by the name of its function.
  func program(named name: String) -> LibBPFProgram? {
    unsafe bpf_object__find_program_by_name(pointer, name).map {
      unsafe LibBPFProgram($0, of: self)
    }
  }

  /// Finds a map by its name, an internal one also by its section.
  func map(named name: String) -> LibBPFMap? {
    unsafe bpf_object__find_map_by_name(pointer, name).map { unsafe LibBPFMap($0, of: self) }
  }

  /// A copy of the type information; `nil` if there is none.
  func types(subject: String) -> BTF? {
    unsafe bpf_object__btf(pointer).flatMap { unsafe BTF(copying: $0, subject: subject) }
  }

  /// Creates the maps and loads the programs (`bpf_object__load`). Call at most once. The verifier
  /// writes its log to `log`.
  func load(log: MemoryMapping?) -> CInt {
    if let log {
      let text = unsafe log.bytes.baseAddress?.assumingMemoryBound(to: CChar.self)
      for program in programs {
        unsafe bpf_program__set_log_buf(program.pointer, text, log.bytes.count)
      }
    }
    // libbpf uses the buffer only during this call. A signal would end the verifier with EAGAIN.
    return withExtendedLifetime(log) { withSignalsBlocked { unsafe bpf_object__load(pointer) } }
  }
}

/// A program of an object.
@safe
struct LibBPFProgram {
  fileprivate let pointer: OpaquePointer
  private let object: LibBPFObject

  fileprivate init(_ pointer: OpaquePointer, of object: LibBPFObject) {
    unsafe self.pointer = pointer
    self.object = object
  }

  var name: String { unsafe String(cString: bpf_program__name(pointer)) }
  var section: String { unsafe String(cString: bpf_program__section_name(pointer)) }
  var type: bpf_prog_type { unsafe bpf_program__type(pointer) }
  var autoload: Bool { unsafe bpf_program__autoload(pointer) }
  var autoattach: Bool { unsafe bpf_program__autoattach(pointer) }

  /// Negative if it is not loaded.
  var descriptor: CInt { unsafe bpf_program__fd(pointer) }

  /// The uses of maps in the instructions of a loaded program.
  var mapUses: [MapUse] {
    let instructions = unsafe UnsafeBufferPointer(
      start: bpf_program__insns(pointer),
      count: bpf_program__insn_cnt(pointer)
    )
    var uses: [MapUse] = []
    for index in instructions.indices.dropLast() {
      let (load, next) = unsafe (instructions[index], instructions[index + 1])
      guard UInt32(load.code) == UInt32(BPF_LD | BPF_IMM) | UInt32(BPF_DW),
        load.src_reg == BPF_PSEUDO_MAP_FD || load.src_reg == BPF_PSEUDO_MAP_VALUE
      else { continue }
      uses.append(
        MapUse(
          position: index,
          descriptor: load.imm,
          offset: load.src_reg == BPF_PSEUDO_MAP_VALUE ? next.imm : nil
        )
      )
    }
    return uses
  }

  func setAutoload(_ autoload: Bool) -> CInt {
    unsafe bpf_program__set_autoload(pointer, autoload)
  }

  /// Attaches it to the hook that its section names (`bpf_program__attach`).
  func attach(warnings: inout String, code: inout CInt) -> LibBPFLink? {
    unsafe LibBPFLink(&warnings, &code) { unsafe bpf_program__attach(pointer) }
  }

  /// Attaches it to a perf event. The link then owns the descriptor.
  func attach(toEvent event: CInt, warnings: inout String, code: inout CInt) -> LibBPFLink? {
    unsafe LibBPFLink(&warnings, &code, event: event) {
      unsafe bpf_program__attach_perf_event(pointer, event)
    }
  }
}

/// An instruction that loads the address of a map, or of a byte of its value.
struct MapUse {
  var position: Int
  var descriptor: CInt
  var offset: Int32?
}

/// An attachment of a program. Ends in `deinit`.
@safe
final class LibBPFLink {
  private let pointer: OpaquePointer
  /// The perf event that it was made for, if any.
  private let event: CInt?
  private let creator = getpid()

  fileprivate init?(
    _ warnings: inout String,
    _ code: inout CInt,
    event: CInt? = nil,
    _ attach: () -> OpaquePointer?
  ) {
    var result: CInt = 0
    let pointer = unsafe capturingWarnings(&warnings) {
      let pointer = unsafe attach()
      result = unsafe resultCode(pointer)
      return unsafe pointer
    }
    code = result
    guard let pointer = unsafe pointer else { return nil }
    unsafe self.pointer = pointer
    self.event = event
  }

  deinit {
    guard let event, creator != getpid() else {
      unsafe bpf_link__destroy(pointer)
      return
    }
    // In a child of `fork`, libbpf would disable the event of the parent.
    let descriptor = descriptor
    unsafe bpf_link__disconnect(pointer)
    unsafe bpf_link__destroy(pointer)
    closeDescriptor(event)
    if descriptor != event { closeDescriptor(descriptor) }
  }

  var descriptor: CInt { unsafe bpf_link__fd(pointer) }
}

/// A map of an object.
@safe
struct LibBPFMap {
  fileprivate let pointer: OpaquePointer
  private let object: LibBPFObject

  fileprivate init(_ pointer: OpaquePointer, of object: LibBPFObject) {
    unsafe self.pointer = pointer
    self.object = object
  }

  var name: String { unsafe String(cString: bpf_map__name(pointer)) }
  var type: BPFMapType { unsafe BPFMapType(rawValue: bpf_map__type(pointer).rawValue) }
  var keySize: Int { unsafe Int(bpf_map__key_size(pointer)) }
  var valueSize: Int { unsafe Int(bpf_map__value_size(pointer)) }
  var maxEntries: Int { unsafe Int(bpf_map__max_entries(pointer)) }
  var keyTypeID: UInt32 { unsafe bpf_map__btf_key_type_id(pointer) }
  var valueTypeID: UInt32 { unsafe bpf_map__btf_value_type_id(pointer) }
  var isInternal: Bool { unsafe bpf_map__is_internal(pointer) }
  var flags: BPFMapFlags { unsafe BPFMapFlags(rawValue: bpf_map__map_flags(pointer)) }
  var autocreate: Bool { unsafe bpf_map__autocreate(pointer) }

  /// Negative if it was not created.
  var descriptor: CInt { unsafe bpf_map__fd(pointer) }

  func setFlags(_ flags: BPFMapFlags) -> CInt {
    unsafe bpf_map__set_map_flags(pointer, flags.rawValue)
  }

  func setMaxEntries(_ count: UInt32) -> CInt { unsafe bpf_map__set_max_entries(pointer, count) }

  func setAutocreate(_ autocreate: Bool) -> CInt {
    unsafe bpf_map__set_autocreate(pointer, autocreate)
  }

  /// Makes the object use another map. libbpf duplicates the descriptor.
  func reuse(_ descriptor: CInt) -> CInt { unsafe bpf_map__reuse_fd(pointer, descriptor) }

  /// Lends the initial contents of a section of global variables; empty for other maps.
  func withInitialValue<R, E: Error>(
    _ body: (UnsafeMutableRawBufferPointer) throws(E) -> R
  ) throws(E) -> R {
    var size = 0
    let start = unsafe bpf_map__initial_value(pointer, &size)
    return try unsafe body(
      UnsafeMutableRawBufferPointer(
        start: UnsafeMutableRawPointer(mutating: start),
        count: start == nil ? 0 : size
      )
    )
  }
}
