// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
import SystemPackage

/// What the kernel says about a program.
public struct BPFProgramInfo: Sendable, Hashable {
  /// The program's id, unique among the programs that exist.
  public var id: UInt32
  /// The kernel's name: the first 15 bytes of the function's name.
  public var name: String
  /// `enum bpf_prog_type` in `linux/bpf.h`.
  public var type: UInt32
  /// A hash of the instructions, as 16 hexadecimal digits. The contents of maps, also of constants, are
  /// not part of it.
  public var tag: String
  /// The ids of the maps that the program uses, in ascending order. Empty without CAP_BPF.
  public var mapIDs: [UInt32]
}

/// Asks the kernel about a program's descriptor, after checking that it is one.
func inspectProgram(_ descriptor: CInt, on subject: String) throws(BPFError) -> BPFProgramInfo {
  let attempt = "read the program's info"
  if let target = descriptorTarget(descriptor), target != "anon_inode:bpf-prog" {
    throw BPFError(
      .wrongType,
      attempt: attempt,
      on: subject,
      advice: "it is '\(target)', not a BPF program"
    )
  }
  var info = bpf_prog_info()
  var size = UInt32(MemoryLayout<bpf_prog_info>.size)
  var code = unsafe bpf_obj_get_info_by_fd(descriptor, &info, &size)
  var maps: [UInt32] = []
  if code == 0, info.nr_map_ids > 0 {
    // The number of maps of a program does not change.
    maps = [UInt32](repeating: 0, count: Int(min(info.nr_map_ids, 1024)))
    let count = UInt32(maps.count)
    code = unsafe maps.withUnsafeMutableBytes { bytes in
      info = bpf_prog_info()
      info.nr_map_ids = count
      info.map_ids = UInt64(UInt(bitPattern: bytes.baseAddress))
      size = UInt32(MemoryLayout<bpf_prog_info>.size)
      return unsafe bpf_obj_get_info_by_fd(descriptor, &info, &size)
    }
  }
  guard code == 0 else { throw BPFError(code: code, attempt: attempt, on: subject) }
  let hex = unsafe withUnsafeBytes(of: info.tag) { tag in
    unsafe tag.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
  }
  return unsafe BPFProgramInfo(
    id: info.id,
    name: withUnsafeBytes(of: info.name) {
      unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    },
    type: info.type,
    tag: hex,
    mapIDs: maps.filter { $0 != 0 }.sorted()
  )
}
