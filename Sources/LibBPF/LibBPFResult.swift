// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
import SystemPackage

/// The size to pass in a `struct bpf_…_opts`: up to the end of `last`, the last field that the caller
/// sets or reads.
///
/// libbpf requires all bytes after the fields that it supports to be zero. Swift leaves padding at
/// the end of a structure uninitialized, so `MemoryLayout.size` must not be used.
func optionsSize<Options, Field>(upTo last: PartialKeyPath<Options>, _: Field.Type) -> Int {
  (MemoryLayout<Options>.offset(of: last) ?? 0) + MemoryLayout<Field>.size
}

extension BPFError {
  /// Creates an error from a negative error number of the system, or of libbpf, whose own numbers
  /// start at 4000 (`enum libbpf_errno`). `kind` and `advice` replace those that fit most calls.
  package init(
    _ kind: Kind? = nil,
    code: CInt,
    attempt: String,
    on object: String,
    advice: String? = nil,
    details: String = ""
  ) {
    let number = CInt(truncatingIfNeeded: code.magnitude)
    guard number >= __LIBBPF_ERRNO__START.rawValue else {
      let general = BPFError(
        errno: Errno(rawValue: number),
        attempt: attempt,
        on: object,
        advice: advice,
        details: details
      )
      self.init(
        Errno(rawValue: number).isShortageOfDescriptors ? general.kind : kind ?? general.kind,
        attempt: attempt,
        on: object,
        errno: general.errno,
        advice: general.advice,
        details: details
      )
      return
    }
    self.init(
      kind ?? .system,
      attempt: attempt,
      on: object,
      advice: [libbpfText(of: number), advice ?? ""].filter { !$0.isEmpty }.joined(separator: "; "),
      details: details
    )
  }
}
