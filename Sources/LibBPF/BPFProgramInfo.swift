// SPDX-License-Identifier: Apache-2.0
import CLibBPF

/// The kernel's information about a program.
public struct BPFProgramInfo: Sendable, Hashable {
  /// The program's id, unique among the programs that exist.
  public var id: UInt32
  /// The kernel's name: the first 15 bytes of the function's name.
  public var name: String
  /// `enum bpf_prog_type` in `linux/bpf.h`.
  public var type: UInt32
  /// A hash of the instructions, as 16 hexadecimal digits. It does not depend on the contents of maps, such
  /// as constants.
  public var tag: String
  /// The ids of the maps that the program uses, in ascending order. Empty without CAP_BPF.
  public var mapIDs: [UInt32]
}

/// Reads the kernel's information about a program's descriptor, after checking that it refers to a
/// program.
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
  var (code, info) = readProgramInfo(descriptor)
  var maps: [UInt32] = []
  if code == 0, info.nr_map_ids > 0 {
    // The number of maps of a program does not change.
    (code, maps) = readProgramMaps(descriptor, count: Int(min(info.nr_map_ids, 1024)))
  }
  guard code == 0 else { throw BPFError(code: code, attempt: attempt, on: subject) }
  return BPFProgramInfo(
    id: info.id,
    name: info.kernelName,
    type: info.type,
    tag: info.hexadecimalTag,
    mapIDs: maps.filter { $0 != 0 }.sorted()
  )
}
