// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc

// Invariant: libbpf's object exists from `init` to `deinit`, and one owner at a time uses it.

/// Builds type information for maps that have no object file.
@safe
package struct BTFBuilder: ~Copyable {
  private let pointer: OpaquePointer
  private var failure: CInt = 0
  private let subject: String

  package init(for subject: String) throws(BPFError) {
    guard let pointer = unsafe btf__new_empty() else {
      throw BPFError(code: -errno, attempt: "build type information", on: subject)
    }
    unsafe self.pointer = pointer
    self.subject = subject
  }

  deinit { unsafe btf__free(pointer) }

  package mutating func integer(_ name: String, size: Int, isSigned: Bool = false) -> UInt32 {
    unsafe keep(btf__add_int(pointer, name, size, isSigned ? BTF_INT_SIGNED : 0))
  }

  package mutating func array(of element: UInt32, count: UInt32, index: UInt32) -> UInt32 {
    unsafe keep(btf__add_array(pointer, CInt(bitPattern: index), CInt(bitPattern: element), count))
  }

  package mutating func structure(
    _ name: String,
    size: UInt32,
    members: [(name: String, type: UInt32, offset: UInt32)]
  ) -> UInt32 {
    let id = unsafe keep(btf__add_struct(pointer, name, size))
    for member in members {
      _ = unsafe keep(
        btf__add_field(pointer, member.name, CInt(bitPattern: member.type), member.offset * 8, 0)
      )
    }
    return id
  }

  package mutating func pointer(to type: UInt32, tag: String) -> UInt32 {
    let tag = unsafe keep(btf__add_type_tag(pointer, tag, CInt(bitPattern: type)))
    return unsafe keep(btf__add_ptr(pointer, CInt(bitPattern: tag)))
  }

  /// The finished type information.
  package consuming func finish() throws(BPFError) -> BTF {
    guard failure == 0, let btf = unsafe BTF(copying: pointer, subject: subject) else {
      throw BPFError(code: failure, attempt: "build type information", on: subject)
    }
    return btf
  }

  private mutating func keep(_ result: CInt) -> UInt32 {
    if result < 0, failure == 0 { failure = result }
    return UInt32(max(result, 0))
  }
}
