import CBaselines
import Glibc
import MmapStorage

/// What a BPF program pays for its map's kind: `storage-get.bpf.c` run by `kernel_side.c`.
@main
enum KernelSide {
  static func main() {
    let bytes = BPFObjectImage.storageGet.bytes
    let isCounted = CommandLine.arguments.dropFirst() == ["--instructions"]
    exit(bytes.withUnsafeBytes { kernel_side($0.baseAddress, $0.count, isCounted) })
  }
}
