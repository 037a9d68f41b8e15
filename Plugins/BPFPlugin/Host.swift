// SPDX-License-Identifier: Apache-2.0
/// The machine that builds, which is also the target: SwiftPM does not pass the target platform to
/// a plugin.
struct Host {
  /// Macros for the program. `<bpf/bpf_tracing.h>` requires the first. The host compiler defines
  /// the others: with them, the types of the C library and of `<linux/*.h>` have the same sizes in
  /// the program as in Swift.
  var macros: [String]
  /// Debian's folder for headers that depend on the machine, such as `<asm/types.h>`.
  var includeDirectory: String

  #if arch(x86_64)
    static let current = Host(
      macros: ["__TARGET_ARCH_x86", "__x86_64__"],
      includeDirectory: "/usr/include/x86_64-linux-gnu"
    )
  #elseif arch(arm64)
    static let current = Host(
      macros: ["__TARGET_ARCH_arm64", "__aarch64__"],
      includeDirectory: "/usr/include/aarch64-linux-gnu"
    )
  #elseif arch(riscv64)
    static let current = Host(
      macros: ["__TARGET_ARCH_riscv", "__riscv", "__riscv_xlen=64"],
      includeDirectory: "/usr/include/riscv64-linux-gnu"
    )
  #elseif arch(powerpc64le)
    static let current = Host(
      macros: ["__TARGET_ARCH_powerpc", "__powerpc64__"],
      includeDirectory: "/usr/include/powerpc64le-linux-gnu"
    )
  #elseif arch(s390x)
    static let current = Host(
      macros: ["__TARGET_ARCH_s390", "__s390__", "__s390x__"],
      includeDirectory: "/usr/include/s390x-linux-gnu"
    )
  #endif
}
