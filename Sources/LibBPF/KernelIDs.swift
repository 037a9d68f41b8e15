// SPDX-License-Identifier: Apache-2.0
import CLibBPF
import Glibc
import SystemPackage

extension BPFMap {
  /// Returns the ids of all maps that exist (`BPF_MAP_GET_NEXT_ID`). Needs CAP_SYS_ADMIN. Costs one system
  /// call for each.
  ///
  /// - Throws: ``BPFError/Kind/permissionDenied``.
  public static func ids() throws(BPFError) -> [UInt32] {
    try allIDs("maps", next: nextMapID)
  }

  /// Opens a map by its id (`BPF_MAP_GET_FD_BY_ID`). Needs CAP_SYS_ADMIN.
  ///
  /// - Parameters:
  ///   - id: The id, as ``BPFMapInfo/id``.
  ///   - readOnly: Opens it for lookups only.
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/permissionDenied``.
  public convenience init(id: UInt32, readOnly: Bool = false) throws(BPFError) {
    let descriptor = try openByID("map", id) { openMap(id: id, readOnly: readOnly) }
    do throws(BPFError) {
      try self.init(adopting: FileDescriptor(rawValue: descriptor))
    } catch {
      closeDescriptor(descriptor)
      throw error
    }
  }
}

extension BPFProgram {
  /// Returns the ids of all programs that exist (`BPF_PROG_GET_NEXT_ID`). Needs CAP_SYS_ADMIN. Costs one
  /// system call for each.
  ///
  /// - Throws: ``BPFError/Kind/permissionDenied``.
  public static func ids() throws(BPFError) -> [UInt32] {
    try allIDs("programs", next: nextProgramID)
  }

  /// Opens a program by its id (`BPF_PROG_GET_FD_BY_ID`). Needs CAP_SYS_ADMIN.
  ///
  /// - Throws: ``BPFError/Kind/notFound``, ``BPFError/Kind/permissionDenied``.
  public convenience init(id: UInt32) throws(BPFError) {
    let descriptor = try openByID("program", id) { bpf_prog_get_fd_by_id(id) }
    let name: String
    do throws(BPFError) {
      name = try inspectProgram(descriptor, on: "program \(id)").name
    } catch {
      closeDescriptor(descriptor)
      throw error
    }
    self.init(name: name, descriptor: descriptor)
  }
}

private func openByID(_ what: String, _ id: UInt32, _ open: () -> CInt) throws(BPFError) -> CInt {
  let descriptor = open()
  let code = -errno
  guard descriptor < 0 else { return descriptor }
  throw BPFError(
    code: code,
    attempt: "open the \(what) by its id",
    on: "\(what) \(id)",
    advice: code == -EPERM ? "opening by id needs CAP_SYS_ADMIN" : "no \(what) has this id"
  )
}

private func allIDs(
  _ what: String,
  next: (inout UInt32) -> CInt
) throws(BPFError) -> [UInt32] {
  var ids: [UInt32] = []
  var id: UInt32 = 0
  while true {
    let code = next(&id)
    if code == -ENOENT { return ids }
    guard code == 0 else {
      throw BPFError(
        code: code,
        attempt: "list the \(what) of the machine",
        on: "kernel",
        advice: "listing needs CAP_SYS_ADMIN"
      )
    }
    ids.append(id)
  }
}
