// SPDX-License-Identifier: Apache-2.0
import CBaselines
import Glibc
import MmapStorage

/// The cost of the kind of map for a BPF program: `kernel_side.c` runs `storage-get.bpf.c`. If the
/// clock counts instructions, also measures the library on pages that threads map.
@main
enum KernelSide {
  static func main() {
    let bytes = BPFObjectImage.storageGet.bytes
    let isCounted = CommandLine.arguments.dropFirst() == ["--instructions"]
    let status = bytes.withUnsafeBytes { kernel_side($0.baseAddress, $0.count, isCounted) }
    guard status == 0 else { exit(status) }
    guard isCounted else { return }
    do {
      try compareMapped()
    } catch {
      print("error: \(error)")
      exit(1)
    }
  }
}
