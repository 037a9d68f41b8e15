// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct echo` of echo.bpf.c.
typealias Echo = EchoObject.Echo

/// The program of echo.bpf.c, loaded for this process and attached.
struct EchoProgram {
  let loaded: EchoObject
  var object: BPFObject { loaded.object }

  init(
    creates: Bool = true,
    counting call: Int32? = nil,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws {
    var opened = try EchoObject.open(allowing: backends)
    opened.globals.targetTGID = getpid()
    opened.globals.creates = creates ? 1 : 0
    if let call { opened.globals.call = call }
    loaded = try opened.load()
  }

  /// A new storage, to which threads attach separately.
  func storage() throws -> TaskLocalStorage<Echo> {
    try TaskLocalStorage(map: object.map("echoes"))
  }
}
