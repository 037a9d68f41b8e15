// SPDX-License-Identifier: Apache-2.0
/// The machine that builds, which is the machine that runs: SwiftPM does not tell a plugin what it
/// builds for.
struct Host {
  /// Defined for the program. The first is what `<bpf/bpf_tracing.h>` asks for. The others are the
  /// host compiler's: with them the types of the C library and of `<linux/*.h>` have the same
  /// sizes in the program as in Swift.
  var macros: [String]
  /// Where Debian keeps the headers that depend on the machine, such as `<asm/types.h>`.
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
