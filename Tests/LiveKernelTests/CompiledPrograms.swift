import Foundation
import MmapStorage
import Testing

// Until the build plugin makes these, the toolchain's clang does at the start of a test.

extension BPFObjectImage {
  static let taskCounters = compiled("task-counters")
  static let refused = compiled("refused")
  static let layouts = compiled("layouts")
}

private func compiled(_ name: String) -> BPFObjectImage {
  let programs = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "Programs")
  let output = FileManager.default.temporaryDirectory.appending(path: "\(name)-\(getpid()).o")
  let clang = Process()
  clang.executableURL = URL(filePath: "/usr/bin/env")
  clang.arguments = [
    "clang", "-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-idirafter",
    "/usr/include/x86_64-linux-gnu", "-c", programs.appending(path: "\(name).bpf.c").path, "-o",
    output.path,
  ]
  do {
    try clang.run()
    clang.waitUntilExit()
    let bytes = [UInt8](try Data(contentsOf: output))
    try FileManager.default.removeItem(at: output)
    return BPFObjectImage(name: name, bytes: bytes)
  } catch {
    Issue.record(error)
    return BPFObjectImage(name: name, bytes: [])
  }
}
