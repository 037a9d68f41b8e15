// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

/// Runs `bpf-embed` as the plugin does.
final class EmbedTests {
  private let directory = FileManager.default.temporaryDirectory
    .appending(path: "embed \(UUID().uuidString)")
  private let source: URL

  init() throws {
    source = directory.appending(path: "tags.bpf.c")
    try FileManager.default.createDirectory(at: directory, withIntermediateDirectories: false)
  }

  deinit { try? FileManager.default.removeItem(at: directory) }

  private func file(_ name: String) -> URL { directory.appending(path: name) }

  /// Runs it, without one of its options.
  private func embed(
    _ text: String,
    header: String = "",
    without missing: String? = nil,
    compiler: String? = nil
  ) throws -> (status: Int32, messages: String) {
    try text.write(to: source, atomically: true, encoding: .utf8)
    try header.write(to: file("tags.h"), atomically: true, encoding: .utf8)
    if !FileManager.default.fileExists(atPath: file("plan").path) {
      try "".write(to: file("plan"), atomically: true, encoding: .utf8)
    }
    let options = [
      ("--name", "tags"), ("--identifier", "tags"), ("--module", "test"),
      ("--plan", file("plan").path), ("--object", file("tags.o").path),
      ("--swift", file("image.swift").path), ("--bindings", file("tags.swift").path),
      ("--source", source.path),
    ].filter { $0.0 != missing }
    let process = Process()
    process.executableURL = try tool()
    process.arguments = options.flatMap { [$0.0, $0.1] } + ["--"]
    if missing != "--" {
      process.arguments? += [try compiler ?? clang(), "-target", "bpf", "-O2", "-g"]
      process.arguments?.append("-I/usr/include/\(machine)-linux-gnu")
    }
    let errors = Pipe()
    process.standardError = errors
    try process.run()
    let messages = errors.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    return (process.terminationStatus, String(decoding: messages, as: UTF8.self))
  }

  /// The program in the tests' folder. SwiftPM builds the plugin's copy with another name.
  private func tool() throws -> URL {
    let products = URL(filePath: CommandLine.arguments[0]).deletingLastPathComponent()
    return try #require(
      ["bpf-embed-tool", "bpf-embed"].map { products.appending(path: $0) }
        .first { FileManager.default.isExecutableFile(atPath: $0.path) }
    )
  }

  #if arch(x86_64)
    private let machine = "x86_64"
  #else
    private let machine = "aarch64"
  #endif

  private func clang() throws -> String {
    let folders = ProcessInfo.processInfo.environment["PATH"]?.split(separator: ":") ?? []
    return try #require(
      folders.map { "\($0)/clang" }.first { FileManager.default.isExecutableFile(atPath: $0) }
    )
  }

  private func date(_ name: String) throws -> Date {
    let attributes = try FileManager.default.attributesOfItem(atPath: file(name).path)
    return try #require(attributes[.modificationDate] as? Date)
  }

  /// The error for a name that is invalid in Swift has the place of its declaration, in the source
  /// or a header.
  @Test(arguments: [
    ("struct s {\n\tint a_b;\n\tint aB;\n} s;\n", "", "tags.bpf.c:3:6"),
    ("/* a_b, aB; */\nint x, a_b; // aB;\nint\taB = 1;\n", "", "tags.bpf.c:3:5"),
    (
      "#include \"tags.h\"\nint x;\nstruct aB one; struct a_b two;\n",
      "int aB_;\nstruct a_b { int x; };\nstruct aB { int y; };\n", "tags.h:2:8"
    ),
    (
      "struct r { int aB; } r;\nstruct s {\n\tint a_b;\n\tint aB;\n} s;\n", "",
      "tags.bpf.c:4:6"
    ),
    (
      "struct aB_x { int x; } one;\nstruct a_b { int x; } two;\nstruct aB { int x; } three = {1};\n",
      "", "tags.bpf.c:3:8"
    ),
    ("/*\n * aB;\n */\nint a_b;\nint aB = 1;\n", "", "tags.bpf.c:5:5"),
    (
      "/* aB */\n#define SEC(n) __attribute__((section(n)))\nint a_b, aB SEC(\".data.x\") = 1;\n",
      "", "tags.bpf.c:3:10"
    ),
    ("struct _ { int x; } s;\n", "", "tags.bpf.c:1:8"),
    ("int x;\nint numbers[70000];\nint more_numbers[2];\n", "", "tags.bpf.c:2:5"),
    ("int x; /* BPFPlugin: publik */\n", "", "tags.bpf.c:1:1"),
    ("int x;\n/* BPFPlugin: public, name = 2nd */\n", "", "tags.bpf.c:2:1"),
  ])
  func placesOfErrors(text: String, header: String, place: String) throws {
    let run = try embed(text, header: header)
    #expect(run.status == 1)
    #expect(run.messages.contains("\(directory.path)/\(place): error: "), "\(run)")
  }

  /// The package may be below /usr, such as in /usr/src.
  @Test func placesInHeadersBelowUsr() throws {
    let header = "/usr/..\(file("tags.h").path)"
    let run = try embed(
      "#include \"\(header)\"\nstruct s s;\n",
      header: "\nstruct s { int a_b, aB; };\n"
    )
    #expect(run.messages.contains("\(header):2:21: error: "), "\(run)")
  }

  private static let declarations = """
    #define SEC(name) __attribute__((section(name), used))
    SEC("syscall") int run(void *context)
    """

  /// libbpf's message contains the name.
  @Test(arguments: [
    (
      "extern int other(int x);\n\(declarations) {\n\treturn other(1);\n}\n", "1:12",
      "extern 'other'"
    ),
    (
      "struct d { int type; };\n\(declarations) { return 0; }\nstruct d old SEC(\"maps\");\n",
      "4:19", "legacy"
    ),
    (
      "int x __attribute__((section(\"mine\")));\n\(declarations) { return ++x; }\n", "1:31",
      "against 'x' in section 'mine'"
    ),
    (
      "\(declarations) { return 0; }\nstruct {\n\tint (*type)[1];\n\tint *no_field;\n} counts SEC(\".maps\");\n",
      "5:7", "unknown field 'no_field'"
    ),
  ])
  func placesOfDeclarationsThatLibbpfRejects(text: String, place: String, reason: String) throws {
    let run = try embed(text)
    #expect(run.status == 1 && run.messages.contains(reason), "\(run)")
    #expect(run.messages.contains("\(source.path):\(place): error: "), "\(run)")
    #expect(run.messages.contains("libbpf rejects a declaration of the object"), "\(run)")
  }

  @Test func aCompilerThatIsKilled() throws {
    let compiler = file("compiler").path
    let script = "#!/bin/sh\necho words >&2\nkill -KILL $$\n"
    try script.write(toFile: compiler, atomically: true, encoding: .utf8)
    chmod(compiler, 0o755)
    let run = try embed("int x;\n", compiler: compiler)
    #expect(run.status == 1)
    #expect(run.messages.contains("words\nerror: \(compiler) was ended by signal 9, "), "\(run)")
  }

  @Test func optionsOfTheSource() throws {
    for (comment, type) in [
      ("/* BPFPlugin: public, name = Other_Tags */", "public final class Other_Tags"),
      ("// BPFPlugin: name=OtherTags", "\nfinal class OtherTags"),
      ("/*\n * BPFPlugin: public\n */", "public final class Tags"),
      ("/*\n\tBPFPlugin: public\n */", "public final class Tags"),
      ("int BPFPlugin; char *text = \"BPFPlugin: public\";", "\nfinal class Tags"),
    ] {
      let run = try embed(comment + "\nint number;\n")
      #expect(run.status == 0, "\(run)")
      let text = try String(contentsOf: file("tags.swift"), encoding: .utf8)
      #expect(text.contains(type), "\(comment)")
    }
  }

  @Test(arguments: [
    "--name", "--identifier", "--module", "--plan", "--object", "--swift", "--source", "--",
  ])
  func aMissingOption(option: String) throws {
    let run = try embed("int number;\n", without: option)
    #expect(run.status == 1 && run.messages.contains("needs \(option)"), "\(run)")
  }

  /// The Swift compiler treats a file with a date in the same second as unchanged.
  @Test func datesOfFiles() throws {
    #expect(try embed("int number;\n").status == 0)
    let (image, bindings) = (try date("image.swift"), try date("tags.swift"))
    #expect(try embed("int number;\n").status == 0)
    #expect(try date("image.swift") == image && date("tags.swift") == bindings)
    #expect(try embed("int number, other;\n").status == 0)
    #expect(try date("image.swift") >= image + 1 && date("tags.swift") >= bindings + 1)
    #expect(try String(contentsOf: file("tags.swift"), encoding: .utf8).contains("var other"))
  }

  /// The build runs the step again if a header was added or removed.
  @Test func thePlan() throws {
    let first = Date(timeIntervalSince1970: 1_000_000)
    func run(_ text: String, plan: Data?) throws -> Date {
      if let plan { try plan.write(to: file("plan")) }
      try FileManager.default.setAttributes(
        [.modificationDate: first],
        ofItemAtPath: file("plan").path
      )
      #expect(try embed(text).status == 0)
      return try date("plan")
    }
    try Data().write(to: file("plan"))
    #expect(try run("int x;\n", plan: nil) > first)
    let rule = try Data(contentsOf: file("tags.o.d"))
    #expect(try run("int x;\n", plan: rule) == first)
    #expect(try run("#include \"tags.h\"\nint x;\n", plan: nil) > first)
  }

  @Test func theImageHasTheObjectsBytes() throws {
    #expect(try embed("int number = 0x12ef;\n").status == 0)
    let object = try Data(contentsOf: file("tags.o"))
    let digits = object.map { String(256 + Int($0), radix: 16).dropFirst() }.joined()
    let text = try String(contentsOf: file("image.swift"), encoding: .utf8)
    #expect(text.contains("static var tags: BPFObjectImage {\n"))
    #expect(text.contains("BPFObjectImage(name: \"tags\", hex: \"\(digits)\")"))
    // The debuggers' information is removed, and the kernel's stays.
    #expect(object.range(of: Data(".BTF".utf8)) != nil)
    #expect(object.range(of: Data(".debug_info".utf8)) == nil)
    #expect(!FileManager.default.fileExists(atPath: file("tags.o.tmp").path))
  }

  @Test(arguments: [("aligned(64)", true), ("aligned(32)", false)])
  func alignmentOfValuesOfSwiftTasks(attribute: String, isRefused: Bool) throws {
    let header = URL(filePath: #filePath).deletingLastPathComponent()
      .appending(path: "../../Sources/BPFHeaders/include/swift_task_storage.bpf.h").standardized
    let (status, messages) = try embed(
      """
      #include <linux/bpf.h>
      #include "\(header.path)"
      struct request { long id; } __attribute__((\(attribute)));
      SWIFT_TASK_STORAGE(requests, struct request, 64);
      """
    )
    #expect((status != 0) == isRefused, "\(messages)")
    #expect(messages.contains("have an alignment of more than 32 bytes") == isRefused)
  }

  /// The numbers of system calls are those of the machine that builds.
  @Test(arguments: [("asm/unistd.h", true), ("linux/bpf.h", false)])
  func aBuildForAnotherProcessorIsWarned(header: String, isWarned: Bool) throws {
    let run = try embed("#include <\(header)>\nint number;\n")
    #expect(run.status == 0, "\(run)")
    let image = try String(contentsOf: file("image.swift"), encoding: .utf8)
    #expect(image.contains("#if !arch(") == isWarned)
    #expect(image.contains("what <\(header)> defines") == isWarned)
    #expect(image.contains("\n@_spi(Generated) import MmapStorage\n"))
  }
}
