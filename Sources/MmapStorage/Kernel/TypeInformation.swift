import CLibBPFShim

/// Type information (BTF) that does not belong to an object.
package struct TypeInformation: ~Copyable {
  private let btf: OpaquePointer
  private let attempt: String
  private let subject: String

  /// Reads the type information that a map was created with from the kernel.
  init(kernelID id: UInt32, attempt: String, on subject: String) throws(BPFError) {
    var btf: OpaquePointer?
    var warnings = ""
    let code = capturingWarnings(&warnings) { mms_btf_from_kernel(id, &btf) }
    guard code == 0, let btf else {
      throw BPFError(
        .layoutUnavailable,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "the kernel shows type information only to a process with CAP_SYS_ADMIN; take the "
          + "layout from the object file, with BPFObject.layout(ofMap:), which needs no rights",
        details: warnings
      )
    }
    self.btf = btf
    self.attempt = attempt
    self.subject = subject
  }

  /// Reads the contents of a ".BTF" section.
  package init(bytes: [UInt8], name: String) throws(BPFError) {
    attempt = "read type information"
    subject = "'\(name)'"
    var btf: OpaquePointer?
    var warnings = ""
    let code = bytes.withUnsafeBytes { bytes in
      capturingWarnings(&warnings) {
        bytes.baseAddress.map { mms_btf_from_bytes($0, UInt32(bytes.count), &btf) } ?? 0
      }
    }
    guard code == 0, let btf else {
      throw BPFError(
        .invalidObject,
        code: code,
        attempt: attempt,
        on: subject,
        advice: "it is truncated, or not BTF",
        details: warnings
      )
    }
    self.btf = btf
  }

  deinit {
    mms_btf_free(btf)
  }

  /// Returns the layout of a map whose value type is `id` and whose values have `size` bytes.
  package func valueLayout(ofType id: UInt32, size: Int) throws(BPFError) -> ValueLayout {
    var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
    return try reader.valueLayout(ofType: id, size: size)
  }

  /// Describes the type `id`.
  package func fieldType(_ id: UInt32) throws(BPFError) -> FieldType {
    var reader = BTFReader(btf: btf, attempt: attempt, subject: subject)
    return try reader.fieldType(id)
  }
}
