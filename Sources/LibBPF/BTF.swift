// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc

// Invariant: libbpf's object exists from `init` to `deinit` and is not changed. Ids, indexes and
// offsets are checked against its size before anything is read.

/// BPF type information: the C types of an object file, or of a map in the kernel.
///
/// Type ids, member indexes and names are checked against the information's size; a value that is
/// out of range throws ``BPFError/Kind/invalidObject``. A `BTF` does not change and may be used
/// from any thread.
@safe
package final class BTF: Sendable {
  /// The kind of a type; the numbers are the kernel's (`BTF_KIND_*` in `linux/btf.h`).
  package enum Kind: UInt32, Sendable {
    /// No type.
    case void = 0
    /// An integer, `char` or `_Bool`.
    case int
    /// A pointer.
    case ptr
    /// An array.
    case array
    /// A structure.
    case structure
    /// A union.
    case union
    /// An enumeration of at most 32 bits.
    case enumeration
    /// A structure or union that is declared and not defined.
    case fwd
    /// A typedef.
    case typedef
    /// The `volatile` qualifier.
    case volatile
    /// The `const` qualifier.
    case const
    /// The `restrict` qualifier.
    case restrict
    /// A function.
    case function
    /// The parameters and result of a function.
    case functionPrototype
    /// A global variable.
    case variable
    /// A section with its variables.
    case dataSection
    /// A floating-point number.
    case float
    /// A tag of a declaration (`btf_decl_tag`).
    case declTag
    /// A tag of a type (`btf_type_tag`), such as "uptr".
    case typeTag
    /// An enumeration of 64 bits (Linux 6.0).
    case enum64
  }

  /// One type.
  package struct TypeInfo: Sendable {
    /// The type's id.
    package let id: UInt32
    /// The C name; empty for an anonymous type.
    package let name: String
    /// `nil` for a kind that is unknown to this library.
    package let kind: Kind?
    /// `kind_flag` of the kernel's encoding: bit-fields in a structure, a signed enumeration.
    package let kindFlag: Bool
    /// Members of a structure, variables of a section, elements of an array, parameters.
    package let count: UInt32
    /// Bytes, for the kinds that have a size; otherwise 0.
    package let size: UInt32
    /// The type that a reference refers to, or an array's element type; otherwise 0.
    package let referencedType: UInt32
    /// Whether an integer is signed.
    package let isSigned: Bool
    /// Whether an integer is `_Bool`.
    package let isBool: Bool
    /// Whether an integer has fewer bits than its bytes hold, or does not start at bit 0.
    package let isPartialInteger: Bool
  }

  /// A member of a structure or union.
  package struct Member: Sendable {
    /// The C name; empty for an anonymous member.
    package let name: String
    /// The member's type.
    package let type: UInt32
    /// Bits from the start of the structure.
    package let bitOffset: UInt32
    /// Bits of a bit-field; 0 for other members.
    package let bitSize: UInt32
  }

  /// A variable in a section such as ".rodata".
  package struct Variable: Sendable {
    /// The C name.
    package let name: String
    /// The variable's type.
    package let type: UInt32
    /// Bytes from the start of the section.
    package let offset: UInt32
    /// Bytes.
    package let size: UInt32
    /// Whether it is declared in another object.
    package let isExtern: Bool
  }

  // Read-only after creation; freed in deinit.
  nonisolated(unsafe) private let pointer: OpaquePointer
  private let subject: String

  private init(owning pointer: OpaquePointer, subject: String) {
    unsafe self.pointer = pointer
    self.subject = subject
  }

  deinit { unsafe btf__free(pointer) }

  /// Reads the bytes of a `.BTF` section.
  ///
  /// - Parameters:
  ///   - bytes: The section's contents. They are copied.
  ///   - name: The name in errors.
  /// - Throws: ``BPFError/Kind/invalidObject`` if libbpf cannot parse the bytes.
  package convenience init(bytes: [UInt8], name: String) throws(BPFError) {
    var warnings = ""
    var code: CInt = 0
    let size = UInt32(truncatingIfNeeded: bytes.count)
    let pointer = unsafe bytes.withUnsafeBytes { bytes in
      unsafe capturingWarnings(&warnings) {
        let pointer = unsafe bytes.baseAddress.flatMap { unsafe btf__new($0, size) }
        code = unsafe resultCode(pointer)
        return unsafe pointer
      }
    }
    guard let pointer = unsafe pointer, Int(size) == bytes.count else {
      if let pointer = unsafe pointer { unsafe btf__free(pointer) }
      throw BPFError(
        .invalidObject,
        code: code,
        attempt: "read type information",
        on: "'\(name)'",
        advice: "it is truncated or damaged, or is not BTF",
        details: warnings
      )
    }
    unsafe self.init(owning: pointer, subject: "'\(name)'")
  }

  /// Reads type information from the kernel (`BPF_BTF_GET_FD_BY_ID`, which needs CAP_SYS_ADMIN).
  ///
  /// - Throws: ``BPFError/Kind/layoutUnavailable``.
  convenience init(kernelID id: UInt32, attempt: String, on subject: String) throws(BPFError) {
    var warnings = ""
    var code: CInt = 0
    let pointer = unsafe capturingWarnings(&warnings) {
      let pointer = unsafe btf__load_from_kernel_by_id(id)
      code = unsafe resultCode(pointer)
      return unsafe pointer
    }
    guard let pointer = unsafe pointer else {
      throw BPFError(
        .layoutUnavailable,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "reading type information from the kernel needs CAP_SYS_ADMIN; take the layout "
          + "from the object file instead, with BPFObject.layout(ofMap:), which needs no privileges",
        details: warnings
      )
    }
    unsafe self.init(owning: pointer, subject: subject)
  }

  /// Copies the type information of an object that libbpf has opened; `nil` if it has none.
  convenience init?(copying btf: OpaquePointer, subject: String) {
    var size: UInt32 = 0
    guard let bytes = unsafe btf__raw_data(btf, &size), let copy = unsafe btf__new(bytes, size)
    else {
      return nil
    }
    unsafe self.init(owning: copy, subject: subject)
  }

  /// Loads the type information into the kernel (`BPF_BTF_LOAD`). The caller closes the descriptor.
  package func loadIntoKernel(attempt: String, on subject: String) throws(BPFError) -> CInt {
    var size: UInt32 = 0
    var warnings = ""
    var descriptor: CInt = -ENOMEM
    if let bytes = unsafe btf__raw_data(pointer, &size) {
      descriptor = capturingWarnings(&warnings) {
        let descriptor = unsafe bpf_btf_load(bytes, Int(size), nil)
        return descriptor < 0 ? -errno : descriptor
      }
    }
    guard descriptor >= 0 else {
      throw BPFError(code: descriptor, attempt: attempt, on: subject, details: warnings)
    }
    return descriptor
  }

  /// The encoded information, as in the object's section `.BTF`.
  package var rawBytes: [UInt8] {
    var size: UInt32 = 0
    guard let bytes = unsafe btf__raw_data(pointer, &size) else { return [] }
    return unsafe Array(UnsafeRawBufferPointer(start: bytes, count: Int(size)))
  }

  /// The number of types, void included. Ids are below it.
  package var typeCount: UInt32 { unsafe btf__type_cnt(pointer) }

  /// Reads a type.
  ///
  /// - Throws: ``BPFError/Kind/invalidObject`` if there is no such type.
  package func type(_ id: UInt32) throws(BPFError) -> TypeInfo {
    let type = try unsafe record(id)
    let kind = unsafe Kind(rawValue: UInt32(btf_kind(type)))
    var count = unsafe UInt32(btf_vlen(type))
    var size: UInt32 = 0
    var reference: UInt32 = 0
    var encoding: UInt32 = 0
    var isPartial = false
    switch kind {
    case .int:
      size = unsafe type.pointee.size
      encoding = unsafe UInt32(btf_int_encoding(type))
      isPartial = unsafe btf_int_offset(type) != 0 || UInt32(btf_int_bits(type)) != size &* 8
    case .structure, .union, .enumeration, .enum64, .float, .dataSection:
      size = unsafe type.pointee.size
    case .array:
      if let array = unsafe btf_array(type) {
        reference = unsafe array.pointee.type
        count = unsafe array.pointee.nelems
      }
    case .ptr:
      // BPF programs are 64-bit. libbpf detects the size of copied information only if it contains
      // `long`.
      size = 8
      reference = unsafe type.pointee.type
    case .void:
      break
    default:
      reference = unsafe type.pointee.type
    }
    return unsafe TypeInfo(
      id: id,
      name: try text(at: type.pointee.name_off),
      kind: kind,
      kindFlag: btf_kflag(type),
      count: count,
      size: size,
      referencedType: reference,
      isSigned: encoding & UInt32(BTF_INT_SIGNED) != 0,
      isBool: encoding & UInt32(BTF_INT_BOOL) != 0,
      isPartialInteger: isPartial
    )
  }

  /// Reads a member of a structure or union.
  ///
  /// - Throws: ``BPFError/Kind/invalidObject`` if there is no such member.
  package func member(_ index: UInt32, of id: UInt32) throws(BPFError) -> Member {
    let type = try unsafe record(id)
    guard unsafe btf_is_composite(type), unsafe index < UInt32(btf_vlen(type)),
      let members = unsafe btf_members(type)
    else { throw malformed("type \(id) has no member \(index)") }
    return unsafe Member(
      name: try text(at: members[Int(index)].name_off),
      type: members[Int(index)].type,
      bitOffset: btf_member_bit_offset(type, index),
      bitSize: btf_member_bitfield_size(type, index)
    )
  }

  /// Reads a value of an enumeration.
  ///
  /// - Returns: The C name, and the bits of the value, extended to 64 bits according to the
  ///   enumeration's signedness.
  /// - Throws: ``BPFError/Kind/invalidObject`` if there is no such value.
  package func enumerationValue(
    _ index: UInt32,
    of id: UInt32
  ) throws(BPFError) -> (name: String, bits: UInt64) {
    let type = try unsafe record(id)
    guard unsafe index < UInt32(btf_vlen(type)) else {
      throw malformed("enumeration \(id) has no value \(index)")
    }
    if unsafe btf_is_any_enum(type), unsafe UInt32(btf_kind(type)) == Kind.enum64.rawValue,
      let values = unsafe btf_enum64(type)
    {
      let value = unsafe values[Int(index)]
      return (
        try text(at: value.name_off), UInt64(value.val_hi32) << 32 | UInt64(value.val_lo32)
      )
    }
    guard unsafe btf_is_enum(type), let values = unsafe btf_enum(type) else {
      throw malformed("type \(id) is not an enumeration")
    }
    let value = unsafe values[Int(index)]
    return unsafe (
      try text(at: value.name_off),
      btf_kflag(type)
        ? UInt64(bitPattern: Int64(value.val)) : UInt64(UInt32(bitPattern: value.val))
    )
  }

  /// Reads a variable of a section.
  ///
  /// - Throws: ``BPFError/Kind/invalidObject`` if there is no such variable.
  package func variable(_ index: UInt32, of section: UInt32) throws(BPFError) -> Variable {
    let type = try unsafe record(section)
    guard unsafe btf_is_datasec(type), unsafe index < UInt32(btf_vlen(type)),
      let infos = unsafe btf_var_secinfos(type)
    else { throw malformed("section type \(section) has no variable \(index)") }
    let info = unsafe infos[Int(index)]
    let variable = try unsafe record(info.type)
    guard unsafe btf_is_var(variable), let linkage = unsafe btf_var(variable) else {
      throw malformed("type \(info.type) is not a variable")
    }
    return unsafe Variable(
      name: try text(at: variable.pointee.name_off),
      type: variable.pointee.type,
      offset: info.offset,
      size: info.size,
      isExtern: linkage.pointee.linkage == UInt32(BTF_VAR_GLOBAL_EXTERN)
    )
  }

  /// The variables of the section with this name; empty if there is no such section.
  package func variables(ofSection name: String) throws(BPFError) -> [Variable] {
    let id = unsafe btf__find_by_name_kind(pointer, name, Kind.dataSection.rawValue)
    guard id > 0 else { return [] }
    let section = UInt32(id)
    var variables: [Variable] = []
    for index in 0..<(try type(section).count) {
      variables.append(try variable(index, of: section))
    }
    return variables
  }

  /// The id of the structure with this name.
  package func structure(named name: String) -> UInt32? {
    let id = unsafe btf__find_by_name_kind(pointer, name, Kind.structure.rawValue)
    return id > 0 ? UInt32(id) : nil
  }

  /// Skips typedefs and qualifiers. Stops after as many steps as there are types.
  package func strippingQualifiers(_ id: UInt32) throws(BPFError) -> TypeInfo {
    var found = try type(id)
    for _ in 0..<typeCount {
      switch found.kind {
      case .typedef, .const, .volatile, .restrict, .typeTag: found = try type(found.referencedType)
      default: return found
      }
    }
    throw malformed("type \(id) refers to itself")
  }

  /// An error about inconsistent type information.
  package func malformed(_ reason: String) -> BPFError {
    BPFError(
      .invalidObject,
      attempt: "read type information",
      on: subject,
      advice: "it is damaged: \(reason); compile the program again"
    )
  }

  private func record(_ id: UInt32) throws(BPFError) -> UnsafePointer<btf_type> {
    guard let type = unsafe btf__type_by_id(pointer, id) else {
      throw malformed("there is no type \(id)")
    }
    return unsafe type
  }

  private func text(at offset: UInt32) throws(BPFError) -> String {
    guard let text = unsafe btf__name_by_offset(pointer, offset) else {
      throw malformed("there is no name at offset \(offset)")
    }
    return unsafe String(cString: text)
  }
}
