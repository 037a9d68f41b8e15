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
}
