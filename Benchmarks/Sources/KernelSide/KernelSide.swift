// SPDX-License-Identifier: Apache-2.0
import CBaselines
import Glibc
import MmapStorage

/// What a BPF program pays for its map's kind: `storage-get.bpf.c` run by `kernel_side.c`. Where the
/// clock counts instructions, also what the library takes on pages that threads map.
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
