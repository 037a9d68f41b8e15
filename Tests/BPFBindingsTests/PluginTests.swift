// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Parts of BPFPlugin that need no package; scripts/check-plugin checks the rest.
struct PluginTests {
  @Test(arguments: [
    ("request-tags", "requestTags"), ("request_tags", "requestTags"),
    ("RequestTags", "requestTags"), ("HTTPCounters", "httpCounters"), ("HTTP", "http"),
    ("HTTP2", "http2"), ("A", "a"), ("aB", "aB"),
    ("default", "`default`"), ("2nd-try", "_2ndTry"), ("x.y", "xY"), ("élan", "lan"),
  ])
  func namesOfImages(file: String, name: String) throws {
    let program = try BPFProgram(source: URL(filePath: "/a/\(file).bpf.c"))
    #expect(program.identifier == name && program.name == file)
  }

  @Test(arguments: ["self", "-", "é", "a\"b", "a\\b"])
  func namesThatSwiftCannotHave(file: String) {
    let error = #expect(throws: PluginError.self) {
      try BPFProgram(source: URL(filePath: "/a/\(file).bpf.c"))
    }
    #expect(error?.description.contains("'\(file)' has no valid Swift name") == true)
  }

  @Test func twoFilesWithOneName() throws {
    let files = ["/a/one.bpf.c", "/a/two-three.bpf.c", "/b/two_three.bpf.c"]
      .map { URL(filePath: $0) }
    #expect(try programs(from: Array(files.prefix(2))).map(\.identifier) == ["one", "twoThree"])
    let error = #expect(throws: PluginError.self) { try programs(from: files) }
    #expect(
      error?.description.hasPrefix("both /a/two-three.bpf.c and /b/two_three.bpf.c would be ")
        == true
    )
  }

  @Test(arguments: [
    ("o: a.c b.h\n", ["a.c", "b.h"]), ("o: a.c \\\n  b.h \\\n  c.h\n", ["a.c", "b.h", "c.h"]),
    ("o: a\\ b.c c\\#d.h e$$f.h\n", ["a b.c", "c#d.h", "e$f.h"]),
    ("/a\\ b/o: x\\y.h\n", ["x\\y.h"]), ("o:\n", []), ("", []), ("a.c b.h\n", []),
  ])
  func filesOfMakeRules(rule: String, files: [String]) {
    #expect(DependencyRule.prerequisites(in: rule) == files)
  }

  @Test func theFirstClangWithTheBPFTargetIsUsed() throws {
    let directory = FileManager.default.temporaryDirectory.appending(path: "clangs-\(UUID())")
    defer { try? FileManager.default.removeItem(at: directory) }
    func clang(_ name: String, _ script: String, mode: Int = 0o755) throws -> URL {
      let folder = directory.appending(path: name)
      try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
      let clang = folder.appending(path: "clang")
      try "#!/bin/sh\n\(script)\n".write(to: clang, atomically: true, encoding: .utf8)
      try FileManager.default.setAttributes([.posixPermissions: mode], ofItemAtPath: clang.filePath)
      return clang
    }
    func prints(_ targets: String) -> String {
      #"[ "$*" = --print-targets ] && printf '  Registered Targets:\n\#(targets)'"#
    }
    let unfit = [
      try clang("without", prints("    bpfel - BPF (little endian)\\n    x86 - bpf\\n")),
      try clang("failing", prints("    bpf - BPF\\n") + "; exit 1"),
      try clang("not executable", prints("    bpf - BPF\\n"), mode: 0o644),
      directory.appending(path: "missing/clang"),
    ]
    let fit = [
      try clang("first", prints("    bpf        - BPF (host endian)\\n")),
      try clang("second", prints("    bpf        - BPF (host endian)\\n")),
    ]
    #expect(clangWithBPFTarget(of: unfit) == nil)
    #expect(clangWithBPFTarget(of: unfit + fit)?.filePath == fit[0].filePath)
    let path = (unfit + fit).map { $0.deletingLastPathComponent().filePath }.joined(separator: ":")
    #expect(clangWithBPFTarget(of: clangs(inPath: path))?.filePath == fit[0].filePath)
  }
}
