// SPDX-License-Identifier: Apache-2.0
import Glibc
import MmapStorage

/// `struct echo` of echo.bpf.c.
struct Echo: MapValue, Equatable {
  var calls: UInt64 = 0
  var said: UInt32 = 0
  var heard: UInt32 = 0
  var bits: UInt32 = 0
  var reserved: UInt32 = 0
}

/// The program of echo.bpf.c, loaded for this process and attached.
struct EchoProgram {
  let object: BPFObject

  init(
    creates: Bool = true,
    counting call: Int32? = nil,
    allowing backends: Set<BackendKind> = Set(BackendKind.allCases)
  ) throws {
    object = try BPFObject(.echo, allowing: backends)
    try object.setGlobal("target_tgid", to: getpid())
    try object.setGlobal("creates", to: UInt32(creates ? 1 : 0))
    if let call { try object.setGlobal("call", to: call) }
    try object.load()
    try object.attach()
  }

  func storage() throws -> TaskLocalStorage<Echo> {
    try TaskLocalStorage(map: object.map("echoes"))
  }
}
